"""How far away is it? Measures of predicted depth maps, and bins between a head and a depth."""

from __future__ import annotations

import numpy as np


def depth_measures(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """`abs_rel`, `rmse` and `delta1` over all places with a depth above 0 (Eigen et al. 2014, section 4.3).

    delta1 is the share with max(p / t, t / p) < 1.25. Predictions are kept at or above a thousandth of the largest depth.
    """
    known = true > 0
    t, p = true[known].astype(np.float64), np.maximum(predicted[known].astype(np.float64), 1e-3 * true.max())
    return {
        "abs_rel": float(np.mean(np.abs(p - t) / t)),
        "rmse": float(np.sqrt(np.mean(np.square(p - t)))),
        "delta1": float(np.mean(np.maximum(p / t, t / p) < 1.25)),
    }


def bins(low: float, high: float, count: int) -> np.ndarray:
    """The depths [count] of evenly spaced bins, from `low` to `high`."""
    return np.linspace(low, high, count, dtype=np.float32)


def soft_bins(depth: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Weights [..., count] of the two bins around each depth, whose mean is the depth."""
    place = np.interp(depth, centres, np.arange(len(centres)))
    return np.maximum(1 - np.abs(place[..., None] - np.arange(len(centres))), 0).astype(np.float32)
