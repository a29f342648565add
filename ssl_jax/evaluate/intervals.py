"""95 % intervals over the choice of test records, by the percentile bootstrap (Efron & Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
_NUMBERS = 2**22  # of weights held at a time


def interval_of_mean(values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> list[float]:
    """[low, high] of the mean of `values` [N], one number for a test record (whether it was right, its precision, ...).

    A resampled mean is a sum weighted by how often each record was drawn. Values that are only 0 and 1 need no such draw: the
    number of ones is Binomial(N, mean).
    """
    values = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    if np.isin(values, (0, 1)).all():
        return _ends(rng.binomial(len(values), values.mean(), resamples) / len(values))
    even = np.full(len(values), 1 / len(values))
    parts = [rng.multinomial(len(values), even, size) @ values for size in _sizes(len(values), resamples)]
    return _ends(np.concatenate(parts) / len(values))


def interval(statistic: Callable[[np.ndarray], float], count: int, seed: int = 0, resamples: int = 1000) -> list[float]:
    """[low, high] of `statistic(rows)`, where `rows` [count] are test records drawn with replacement: for what is no mean."""
    rng = np.random.default_rng(seed)
    return _ends(np.array([statistic(rng.integers(0, count, count)) for _ in range(resamples)]))


def _ends(resampled: np.ndarray) -> list[float]:
    return [float(q) for q in np.quantile(resampled, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))]


def _sizes(count: int, resamples: int) -> Iterator[int]:
    most = max(1, _NUMBERS // count)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)
