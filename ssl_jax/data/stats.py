"""What a source holds, in one pass and constant memory: `ssl-jax data stats`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data.image.decode import opened
from ssl_jax.data.sources.base import Source
from ssl_jax.errors import UserError

_LONGEST = 1 << 16  # sides that are counted one by one; longer ones count as this
_AT_A_TIME = 512  # records
_LISTED = 20  # bad records that are named

Advance = Callable[[int], object]


class Seen(NamedTuple):
    """One record: height and width, what its pixels are, its label (-1: none), and the moments of its pixels in [0, 1], [C]."""

    size: tuple[int, int]
    mode: str
    label: int
    mean: np.ndarray
    square: np.ndarray


@dataclass
class Stats:
    """Running totals over records. Each picture counts the same for `mean` and `std`, however large it is."""

    records: int = 0
    sides: np.ndarray = field(default_factory=lambda: np.zeros((2, _LONGEST + 1), np.int64))
    modes: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    bad: int = 0
    named_bad: list[tuple[str, str]] = field(default_factory=list)
    sums: Any = 0.0
    squares: Any = 0.0

    def add(self, seen: Seen) -> None:
        """One more record."""
        self.records += 1
        for axis, side in enumerate(seen.size):
            self.sides[axis, min(side, _LONGEST)] += 1
        self.modes[seen.mode] += 1
        self.labels[seen.label] += 1
        self.sums, self.squares = self.sums + seen.mean, self.squares + seen.square

    def add_bad(self, name: str, reason: str) -> None:
        """One that cannot be read."""
        self.bad += 1
        if len(self.named_bad) < _LISTED:
            self.named_bad.append((name, reason))

    def told(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """All of it as plain data."""
        mean = self.sums / self.records
        std = np.sqrt(np.maximum(self.squares / self.records - mean**2, 0))
        labels = {number: count for number, count in sorted(self.labels.items()) if number >= 0}
        return {
            "records": self.records,
            "height": _quantiles(self.sides[0]),
            "width": _quantiles(self.sides[1]),
            "modes": dict(self.modes.most_common()),
            "mean": [round(float(x), 4) for x in mean],
            "std": [round(float(x), 4) for x in std],
            "labels": {classes[n] if n < len(classes) else str(n): count for n, count in labels.items()},
            "without_label": self.labels[-1],
            "bad": self.bad,
            "bad_records": [{"name": name, "reason": reason} for name, reason in self.named_bad],
        }


def stats(
    source: Source, threads: int, advance: Advance = lambda records: None, ids: Sequence[int] | None = None
) -> dict[str, Any]:
    """What `source` holds, or its records `ids` do. UserError where none of these is a picture that can be read."""
    found, ids = Stats(), range(len(source)) if ids is None else ids
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(ids), _AT_A_TIME):
            some = ids[start : start + _AT_A_TIME]
            for index, seen in zip(some, pool.map(lambda i: _tried(source, i), some), strict=True):
                if isinstance(seen, Seen):
                    found.add(seen)
                else:
                    found.add_bad(_name(source, index), f"{type(seen).__name__}: {seen}")
                advance(1)
    if not found.records:
        raise UserError(f"none of {len(ids)} records is a picture that can be read; the first: {found.named_bad[0]}")
    return found.told(tuple(getattr(source, "classes", ())))


def _tried(source: Any, index: int) -> Seen | Exception:
    try:
        return _encoded(source, index) if hasattr(source, "encoded") else _array(source[index])
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever a decoder raises on a damaged picture
        return error


def _encoded(source: Any, index: int) -> Seen:
    """A record with an encoded picture, of which the central square gives the moments."""
    record = source.encoded(index)
    picture = opened(record["image"])
    width, height = picture.size
    mode = {"P": "palette", "1": "black and white"}.get(picture.mode, picture.mode)
    return Seen((height, width), mode, int(record.get("label", -1)), *_moments(source.decoding(record["image"])))


def _array(record: dict[str, Any]) -> Seen:
    image = np.asarray(record["image"])
    if image.ndim != 3:
        raise UserError(f"images are {image.dtype} {image.shape}; statistics are of pictures [H, W, C]")
    mode = f"{image.shape[2]} x {image.dtype}"
    return Seen((image.shape[0], image.shape[1]), mode, int(record.get("label", -1)), *_moments(image))


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square [C] of the pixels of an image [H, W, C], in [0, 1]."""
    flat = image.reshape(-1, image.shape[-1]).astype(np.float64) / (255 if image.dtype == np.uint8 else 1)
    return flat.mean(0), (flat**2).mean(0)


def _quantiles(counts: np.ndarray) -> dict[str, int]:
    """Smallest, middle and largest of numbers of which `counts` [n] says how often each is there."""
    below = np.cumsum(counts)
    at = {"min": 1, "5%": 0.05 * below[-1], "median": 0.5 * below[-1], "95%": 0.95 * below[-1], "max": below[-1]}
    return {name: int(np.searchsorted(below, max(1, place))) for name, place in at.items()}


def _name(source: Any, index: int) -> str:
    return source.name_of(index) if hasattr(source, "name_of") else str(index)
