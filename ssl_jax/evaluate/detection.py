"""Telling two kinds apart by one score: areas under curves, and scores of how strange a record is.

A score is larger for what is to be found (`positive` bool [N]).
"""

from __future__ import annotations

import numpy as np

from ssl_jax.evaluate.neighbours import neighbours


def detection(score: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """`auroc`, `aupr` and `fpr95` of scores [N]."""
    return {"auroc": auroc(score, positive), "aupr": aupr(score, positive), "fpr95": fpr_at(score, positive)}


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """The chance that a positive scores above a negative; ties count half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, score))


def aupr(score: np.ndarray, positive: np.ndarray) -> float:
    """Average precision: precision summed over the steps of recall, without interpolation."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(positive, score))


def fpr_at(score: np.ndarray, positive: np.ndarray, tpr: float = 0.95) -> float:
    """The least share of negatives at or above a threshold that at least `tpr` of the positives reach."""
    found = np.sort(score[positive])[::-1]
    threshold = found[int(np.ceil(tpr * len(found) - 1e-9)) - 1]
    return float((score[~positive] >= threshold).mean())


def knn_distance(bank: np.ndarray, x: np.ndarray, k: int) -> np.ndarray:
    """Distance [M] of L2-normalised x [M, F] from its k-th neighbour among bank [N, F] (Sun et al. 2022)."""
    similarity = neighbours(bank, x, min(k, len(bank)))[0][:, -1]
    return np.sqrt(np.maximum(2 - 2 * similarity, 0))


def max_softmax(logits: np.ndarray) -> np.ndarray:
    """Minus the largest probability [M] (Hendrycks & Gimpel 2017)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return -1 / powers.sum(axis=1)


def energy(logits: np.ndarray) -> np.ndarray:
    """Minus the log of the sum of exponentials [M] of logits [M, K] (Liu et al. 2020, temperature 1)."""
    top = logits.max(axis=1)
    return -(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))


def mahalanobis(bank: np.ndarray, labels: np.ndarray, x: np.ndarray, shrinkage: float = 1e-3) -> np.ndarray:
    """Squared Mahalanobis distance [M] from the nearest class mean, one covariance for all classes (Lee et al. 2018).

    The covariance gets `shrinkage` times its mean eigenvalue, so that more features than records are no obstacle.
    """
    classes = np.unique(labels)
    means = np.stack([bank[labels == c].mean(axis=0, dtype=np.float64) for c in classes])
    centred = bank - means[np.searchsorted(classes, labels)]
    covariance = centred.T @ centred / len(bank)
    root = np.linalg.cholesky(
        covariance + (shrinkage * np.trace(covariance) / len(covariance) + 1e-12) * np.eye(len(covariance))
    )
    white = [np.linalg.solve(root, part.T.astype(np.float64)).T for part in (x, means)]
    return np.min([np.square(white[0] - mean).sum(axis=1) for mean in white[1]], axis=0)
