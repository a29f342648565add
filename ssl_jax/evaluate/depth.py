"""How far away is it? Measures of predicted depth maps."""

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
