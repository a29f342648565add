"""A look at some of a source's pictures, before a run decides what to make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.data.sources.arrays import spread
from ssl_jax.data.sources.base import Source, values_of
from ssl_jax.data.stats import stats

LOOKED_AT = 256  # records, evenly spread
_THREADS = 4


@dataclass(frozen=True)
class Look:
    """What was found: `count` records in all, of which `seen` were read.

    height, width: of the picture in the middle of each. channels: as the encoder is given them. encoded: whether pictures lie as
    files, so that they can be cropped whole. bad: how many could not be read, and `first_bad` of them, with the reason.
    classes: their names. sizes: the smallest and the largest number of records of a class; None where they are not listed.
    """

    count: int
    seen: int
    height: int
    width: int
    channels: int
    encoded: bool
    bad: int = 0
    first_bad: str = ""
    classes: tuple[str, ...] = ()
    sizes: tuple[int, int] | None = None

    @property
    def short(self) -> int:
        """The shorter of the two sides in the middle."""
        return min(self.height, self.width)

    def told(self) -> str:
        """`320 pictures of 2 classes (158 to 162 each), about 500 x 375 pixels; all of 256 that were looked at can be read`."""
        each = f" ({_range(*self.sizes)} each)" if self.sizes else ""
        of = f" of {len(self.classes):,} classes{each}" if self.classes else " without classes"
        ill = f"{self.bad:,} of {self.seen:,} that were looked at cannot be read, {self.first_bad}"
        sound = f"all {self.seen:,} that were looked at can be read"
        return f"{self.count:,} pictures{of}, about {self.width} x {self.height} pixels; {ill if self.bad else sound}"


def look(source: Source) -> Look:
    """Read some records of a source. UserError where none of them is a picture that can be read."""
    ids = [int(i) for i in spread(len(source), LOOKED_AT)]
    found = stats(source, _THREADS, ids=ids)
    bad, sides = found["bad_records"], (found["height"]["median"], found["width"]["median"])
    first = f"{bad[0]['name']} first ({bad[0]['reason']})" if bad else ""
    classes = tuple(getattr(source, "classes", ()))
    return Look(
        len(source), len(ids), *sides, len(found["mean"]), hasattr(source, "encoded"), found["bad"], first, classes,
        _sizes(source, len(classes)),
    )  # fmt: skip


def _sizes(source: Any, classes: int) -> tuple[int, int] | None:
    labels = values_of(source, "label") if classes else None
    if labels is None or labels.ndim != 1:
        return None
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    return int(counts.min()), int(counts.max())


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
