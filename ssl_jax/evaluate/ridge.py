"""Ridge regression in closed form, its penalty chosen without a held-out part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

_FLOATS = 2**22  # numbers of one-hot rows that are held at once: 32 MB
STRENGTHS = tuple(float(s) for s in np.logspace(-4, 1, 11))


def ridge(
    x: np.ndarray, targets: np.ndarray, held_x: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> tuple[np.ndarray, float]:
    """Predictions [M, T] for `held_x` [M, F] after a fit on `x` [N, F] and `targets` [N, T]; and the strength chosen.

    x and held_x are standardised by `x`; a penalty is a strength times the mean nonzero eigenvalue of the Gram matrix. The
    best differs by a factor of 1000 between encoders, so it is the one with the least squared leave-one-out error on `x`,
    which the same eigenvalues give: residual / (1 - leverage) (Allen 1974).
    """
    rows = Rows(x, *_spectrum(x.astype(np.float64)))
    strength = strengths[int(np.argmin(rows.left_out_errors(targets, strengths)))]
    return rows.predictions(targets, held_x, strength), strength


def ridge_classes(
    x: np.ndarray, y: np.ndarray, held_x: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> np.ndarray:
    """The classes [M] that `ridge` on one-hot targets of `y` [N] finds most likely, without the memory of one-hot rows.

    Classes that are not in `y` are never the most likely (their targets, and so their predictions, are 0, and those of the
    others add up to 1), and the others are taken some at a time.
    """
    present, number = np.unique(y, return_inverse=True)
    rows, at_once = Rows(x, *_spectrum(x.astype(np.float64))), max(1, _FLOATS // len(x))
    parts = [np.arange(len(present))[start : start + at_once] for start in range(0, len(present), at_once)]
    one_hot = lambda part: (number[:, None] == part).astype(np.float64)  # noqa: E731
    errors = sum(rows.left_out_errors(one_hot(part), strengths) for part in parts)
    strength = strengths[int(np.argmin(errors))]
    best, chosen = np.full(len(held_x), -np.inf), np.zeros(len(held_x), np.int64)
    for part in parts:
        found = rows.predictions(one_hot(part), held_x, strength)
        most = found.argmax(axis=1)
        likely = np.take_along_axis(found, most[:, None], axis=1)[:, 0]
        chosen, best = np.where(likely > best, part[most], chosen), np.maximum(likely, best)
    return present[chosen]


def least_squares_classes(x: np.ndarray, y: np.ndarray, held_x: np.ndarray, classes: int, l2: float) -> np.ndarray:
    """Outputs [M, K] for `held_x` [M, F] of ridge regression on targets 2 * one-hot - 1: big_vision's few-shot evaluator.

    x and held_x are divided by the standard deviation of `x`, after its mean; a constant of 100 takes the bias, which the
    penalty `l2` then hardly reaches. The smaller of the two systems is solved, in float64 (big_vision: float32).
    """
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64) + 1e-5
    a, held = (np.pad((part - mean) / std, ((0, 0), (0, 1)), constant_values=100.0) for part in (x, held_x))
    targets = 2.0 * (y[:, None] == np.arange(classes)) - 1
    with threadpool_limits(1, user_api="blas"):
        if len(a) >= a.shape[1]:
            return held @ np.linalg.solve(a.T @ a + l2 * np.eye(a.shape[1]), a.T @ targets)
        return held @ (a.T @ np.linalg.solve(a @ a.T + l2 * np.eye(len(a)), targets))


class Rows(NamedTuple):
    """What is learnt from: `x` [N, F], and eigenvalues [R] and eigenvectors [N, R] of its Gram matrix."""

    x: np.ndarray
    values: np.ndarray
    axes: np.ndarray

    def penalty(self, strength: float) -> float:
        """That of a strength."""
        return strength * max(self.values.sum() / len(self.x), 1e-12)

    def left_out_errors(self, targets: np.ndarray, strengths: Sequence[float]) -> np.ndarray:
        """Squared leave-one-out error of each strength [S], summed over the targets [N, T]."""
        mean = targets.mean(axis=0)
        along, squares = self.axes.T @ (targets - mean), np.square(self.axes)

        def error(penalty: float) -> float:
            shrink = self.values / (self.values + penalty)
            leverage = 1 / len(self.x) + squares @ shrink
            residual = targets - mean - self.axes @ (shrink[:, None] * along)
            return float(np.sum(np.square(residual / (1 - leverage)[:, None])))

        return np.array([error(self.penalty(strength)) for strength in strengths])

    def predictions(self, targets: np.ndarray, held_x: np.ndarray, strength: float) -> np.ndarray:
        """Those [M, T] for `held_x` [M, F]."""
        mean = targets.mean(axis=0)
        along = self.axes.T @ (targets - mean)
        dual = self.axes @ (along / (self.values + self.penalty(strength))[:, None])
        return held_x @ (self.x.T @ dual) + mean


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
