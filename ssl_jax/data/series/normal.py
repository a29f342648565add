"""The mean and deviation of channels, and windows that are brought to 0 and 1 by them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

KINDS = ("none", "window", "channel")
FLAT = 1e-7  # a deviation below this part of the largest value is none: rounding


class Moments(NamedTuple):
    """`mean` and `scale` float32 [C]."""

    mean: np.ndarray
    scale: np.ndarray

    def normal(self, values: np.ndarray) -> np.ndarray:
        """Values [T, C] in units of the deviation from the mean."""
        return (values - self.mean) / self.scale


def moments(values: np.ndarray) -> Moments:
    """Those of the values [T, C] that are not NaN; a channel that has none, or does not vary, has the scale 1.

    >>> moments(np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])).mean.tolist()
    [2.0, 5.0]
    """
    there = np.isfinite(values)
    count = np.maximum(there.sum(axis=0), 1)
    x = np.where(there, values, 0).astype(np.float64)
    mean = x.sum(axis=0) / count
    scale = np.sqrt((np.square(x - mean) * there).sum(axis=0) / count)
    varies = scale > FLAT * np.abs(x).max(axis=0, initial=0.0)
    return Moments(mean.astype(np.float32), np.where(varies, scale, 1).astype(np.float32))


def moments_of_all(recordings: Iterable[np.ndarray]) -> Moments:
    """Those of all values of recordings [T, C]."""
    return moments(np.concatenate(list(recordings)))


def is_flat(values: np.ndarray) -> bool:
    """Whether no channel of [T, C] has two values that differ by more than rounding."""
    there = np.isfinite(values)
    low, high = np.where(there, values, np.inf).min(axis=0), np.where(there, values, -np.inf).max(axis=0)
    some = there.any(axis=0)
    return not np.any(some & (high - low > FLAT * np.maximum(np.abs(high), np.abs(low))))
