"""Pixels that are not 8-bit: which numbers are black and white, decided once for a source, from their type and range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.errors import UserError

_BITS = (8, 10, 12, 14, 16, 24, 32)  # of what cameras and scanners write
_SLACK = 1 / 255  # by which resampled pixels may lie outside of [0, 1]


class Range(NamedTuple):
    """The numbers that are black and white."""

    low: float
    high: float

    def unit(self, x: np.ndarray) -> np.ndarray:
        """`x` as float32 in [0, 1]. ValueError with what was found, where a number lies outside of the range."""
        scaled = ((x.astype(np.float64) - self.low) / (self.high - self.low)).astype(np.float32)
        if not (scaled.min() >= -_SLACK and scaled.max() <= 1 + _SLACK):  # so that NaN is outside too
            raise ValueError(
                f"pixels from {x.min():g} to {x.max():g} lie outside of {self}; set `pixels` to their range"
            )
        return np.clip(scaled, 0, 1)

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"

    def note(self, dtype: str) -> str:
        """The decision, for the log."""
        return (
            f"{dtype} pixels: {self.low:g} is black and {self.high:g} white (`pixels` of the source sets other numbers)"
        )


def said(pixels: Iterable[float]) -> Range:
    """The range that a recipe gives as `pixels=(low, high)`."""
    ends = tuple(float(end) for end in pixels)
    if len(ends) != 2 or not ends[0] < ends[1] or not all(map(math.isfinite, ends)):
        raise UserError(f"pixels={ends}: give the numbers that are black and white, (low, high) with low below high")
    return Range(*ends)


def of_integers(low: float, high: float) -> Range:
    """The range of integers found from `low` to `high`: 0 to 2^bits - 1 of a usual depth; both sides of 0 where some are below.

    Rounded outward to powers of two, so that splits of one data set get the same.
    """
    if low < 0:
        bits = next(b for b in range(7, 65) if -(2**b) <= low and high < 2**b)
        return Range(-(2.0**bits), 2.0**bits - 1)
    if high <= 1:
        return Range(0.0, 1.0)
    return Range(0.0, 2.0 ** next((b for b in _BITS if high < 2**b), 64) - 1)


def of_floats(low: float, high: float) -> Range:
    """The range of floats found from `low` to `high`, where it is a usual one; UserError where it is not."""
    for ends in ((0, 1), (-1, 1), (0, 255), (0, 65535)):
        if ends[0] - _SLACK <= low and high <= ends[1] + _SLACK:
            return Range(*map(float, ends))
    raise UserError(
        f"float pictures with pixels from {low:g} to {high:g}: set pixels=(low, high), what is black and white"
    )


def check_unit(records: Iterable[Mapping[str, Any]], key: str) -> None:
    """UserError where the float images in the field `key` of `records` are not in [0, 1]: they would be clipped."""
    images = [x for x in (np.asarray(r[key]) for r in records if key in r) if x.dtype.kind == "f" and x.size]
    numbers = [x for x in images if not np.isnan(np.fmin.reduce(x, None))]  # an image of NaN alone is left to the step
    low = min((np.fmin.reduce(x, None) for x in numbers), default=0)
    high = max((np.fmax.reduce(x, None) for x in numbers), default=0)
    if low < -_SLACK or high > 1 + _SLACK:
        raise UserError(
            f"'{key}' holds {images[0].dtype} from {low:g} to {high:g}; images are uint8, or floats in [0, 1]: say "
            f"pixels=({low:g}, {high:g}) or what else is black and white, if the source is Arrays or Idx, or scale them there"
        )
