"""Is a probability to be believed? Calibration error, likelihood and Brier score of predicted probabilities [N, K]."""

from __future__ import annotations

import numpy as np

BINS = 15


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits [N, K]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def ece(p: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): |accuracy - confidence| over equal bins, weighted by their size.

    A confidence on an edge belongs to the bin below it.
    """
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, right - confidence, bins)
    return float(np.abs(gap).sum() / len(labels))


def nll(p: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood of the labels, in nats."""
    return float(-np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-300)).mean())


def brier(p: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance from the one-hot labels (Brier 1950): between 0 and 2."""
    return float(np.square(p - np.eye(p.shape[1])[labels]).sum(axis=1).mean())


def auc(p: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve, one class against the rest, mean over the classes that occur (Fawcett 2006)."""
    from ssl_jax.evaluate.detection import auroc

    present = [k for k in range(p.shape[1]) if 0 < (labels == k).sum() < len(labels)]
    return float(np.mean([auroc(p[:, k], labels == k) for k in present])) if present else float("nan")
