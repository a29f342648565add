"""Ridge regression in closed form, its penalty chosen without a held-out part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

STRENGTHS = tuple(float(s) for s in np.logspace(-4, 1, 11))


def ridge(
    x: np.ndarray, targets: np.ndarray, held_x: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> tuple[np.ndarray, float]:
    """Predictions [M, T] for `held_x` [M, F] after a fit on `x` [N, F] and `targets` [N, T]; and the strength chosen.

    x and held_x are standardised by `x`; a penalty is a strength times the mean nonzero eigenvalue of the Gram matrix. The
    best differs by a factor of 1000 between encoders, so it is the one with the least squared leave-one-out error on `x`,
    which the same eigenvalues give: residual / (1 - leverage) (Allen 1974).
    """
    n, mean = len(x), targets.mean(axis=0)
    values, axes = _spectrum(x.astype(np.float64))
    along = axes.T @ (targets - mean)

    def left_out_error(penalty: float) -> float:
        shrink = values / (values + penalty)
        leverage = 1 / n + np.square(axes) @ shrink
        residual = targets - mean - axes @ (shrink[:, None] * along)
        return float(np.sum(np.square(residual / (1 - leverage)[:, None])))

    penalties = {strength: strength * max(values.sum() / n, 1e-12) for strength in strengths}
    strength = min(penalties, key=lambda s: left_out_error(penalties[s]))
    dual = axes @ (along / (values + penalties[strength])[:, None])
    return held_x @ (x.T @ dual) + mean, strength


def _spectrum(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [R] and eigenvectors [N, R] of `x @ x.T`, by the smaller of the two Gram matrices."""
    with threadpool_limits(1, user_api="blas"):  # on a busy machine the threads of a decomposition wait for each other
        if len(x) <= x.shape[1]:
            values, axes = np.linalg.eigh(x @ x.T)
            return np.maximum(values, 0), axes
        values, turned = np.linalg.eigh(x.T @ x)
        values = np.maximum(values, 0)
        scale = np.where(values > 1e-10 * values.max(), 1 / np.sqrt(np.maximum(values, 1e-300)), 0)
        return values, x @ turned * scale
