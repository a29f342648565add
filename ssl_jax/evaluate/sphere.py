"""How features lie on the unit sphere: do views of one record agree, and do records fill it? (Wang & Isola 2020, eq. 1 and 2)."""

from __future__ import annotations

import numpy as np

_ROWS = 1024  # rows whose distances from all others are held at once


def alignment(views: np.ndarray, alpha: float = 2.0) -> float:
    """Mean distance to the power `alpha` between two views [n, q, D] of a record, over all pairs of views; 0 is perfect."""
    z = _unit(views)
    first, second = np.triu_indices(z.shape[1], 1)
    return float((np.linalg.norm(z[:, first] - z[:, second], axis=-1) ** alpha).mean())


def uniformity(x: np.ndarray, t: float = 2.0) -> float:
    """Log of the mean over pairs of different rows of x [N, D] of `exp(-t |a - b|^2)`; 0 when all are equal, less is better.

    A uniform distribution in many dimensions tends to -2t.
    """
    z = _unit(x)
    own = np.arange(len(z))
    total = 0.0
    for rows in np.array_split(own, max(1, len(z) // _ROWS)):
        near = np.exp(-t * np.maximum(2 - 2 * z[rows] @ z[rows[0] :].T, 0))
        # Each pair counts twice: those within the rows are here in both orders, the others in one.
        total += float(2 * near[:, len(rows) :].sum() + near[:, : len(rows)].sum() - np.trace(near))
    return float(np.log(total / (len(z) * (len(z) - 1))))


def _unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
