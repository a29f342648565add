"""Whether two results differ by more than chance: over seeds, and over test records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
_NUMBERS = 2**22  # drawn at a time


class Difference(NamedTuple):
    """How much more the second is than the first, its 95 % interval [low, high], and the two-sided p value.

    `size`: of seeds (pairs of them, where they are paired) or records that it rests on. What cannot be known is NaN.
    """

    value: float
    low: float
    high: float
    p: float
    test: str
    size: int


def over_seeds(a: Sequence[float], b: Sequence[float], paired: bool) -> Difference | None:
    """Student's t test of pairs (`a[i]`, `b[i]` have the same seed), or Welch's (1947) of two samples; None below two seeds.

    Where seeds do not differ at all, there is no p.
    """
    from scipy import stats

    if min(len(a), len(b)) < 2:
        return None
    value = float(np.mean(b) - np.mean(a))
    spread = np.ptp(np.subtract(b, a)) if paired else max(np.ptp(a), np.ptp(b))
    name = "t test, pairs of seeds" if paired else "Welch's t test, seeds"
    count = len(a) if paired else len(a) + len(b)
    if spread < 1e-12:
        return Difference(value, math.nan, math.nan, math.nan, name, count)
    found = stats.ttest_rel(b, a) if paired else stats.ttest_ind(b, a, equal_var=False)
    ends = found.confidence_interval(LEVEL)
    return Difference(value, float(ends.low), float(ends.high), float(found.pvalue), name, count)


def over_records(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Difference:
    """`a`, `b` [N]: one number for each of the same test records. The interval is a paired bootstrap's.

    p is McNemar's (1947), exact, where all numbers are 0 or 1, and the bootstrap's for others.
    """
    apart = np.asarray(b, np.float64) - np.asarray(a, np.float64)
    means = resampled_means(apart, seed)
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    if np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        return Difference(float(apart.mean()), float(low), float(high), mcnemar(apart), "McNemar", len(apart))
    return Difference(float(apart.mean()), float(low), float(high), _p(means), "paired bootstrap", len(apart))


def mcnemar(apart: np.ndarray) -> float:
    """The exact two-sided p of differences [N] in {-1, 0, 1}: those that are not 0 are as often -1 as 1."""
    from scipy import stats

    better, worse = int((apart > 0).sum()), int((apart < 0).sum())
    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def resampled_means(values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Means of `values` [N] drawn N times with replacement: each value that there is, as often as it is drawn."""
    kinds, counts = np.unique(values, return_counts=True)
    rng, most = np.random.default_rng(seed), max(1, _NUMBERS // len(kinds))
    sizes = [min(most, resamples - start) for start in range(0, resamples, most)]
    drawn = [rng.multinomial(len(values), counts / len(values), size) @ kinds for size in sizes]
    return np.concatenate(drawn) / len(values)


def _p(means: np.ndarray) -> float:
    """How often a resampled mean lies on the other side of 0, twice."""
    beyond = min((means <= 0).sum(), (means >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(means) + 1)))


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for being several (Holm 1979); NaN ones are left out and stay."""
    known = [i for i, value in enumerate(p) if not math.isnan(value)]
    order, largest, corrected = sorted(known, key=lambda i: p[i]), 0.0, list(p)
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p[i]))
        corrected[i] = largest
    return corrected
