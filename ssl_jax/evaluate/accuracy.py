"""Accuracy with what is needed to read it: its interval, the level of chance, and how many examples it is of."""

from __future__ import annotations

from typing import Any

import numpy as np

_RESAMPLES = 10_000


def accuracy(predicted: np.ndarray, labels: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """`accuracy`, its 95 % bootstrap `interval`, `chance` and `n_test` for predictions and labels [N].

    Resampling N test examples with replacement makes the number of right ones Binomial(N, accuracy), so the bootstrap is
    drawn from that. It covers the choice of test examples, not the seed of pretraining. `chance` is the share of the most
    frequent class: what a constant answer reaches.
    """
    right = float(np.mean(predicted == labels))
    resampled = np.random.default_rng(seed).binomial(len(labels), right, _RESAMPLES) / len(labels)
    return {
        "accuracy": right,
        "interval": [float(q) for q in np.quantile(resampled, (0.025, 0.975))],
        "chance": float(np.bincount(labels).max() / len(labels)),
        "n_test": len(labels),
    }
