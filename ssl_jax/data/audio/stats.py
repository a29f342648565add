"""What a source of recordings holds, in one pass and constant memory: `ssl-jax data stats audio:/sounds`."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from ssl_jax.data.audio.logmel import LogMel
from ssl_jax.data.sources.base import Source
from ssl_jax.errors import UserError

_AT_A_TIME = 256  # records
_LISTED = 20  # bad records that are named

Advance = Callable[[int], object]


class Heard(NamedTuple):
    """One record: its mono wave [T], how many of its samples are recorded, the largest of them, and its label (-1: none)."""

    wave: np.ndarray
    samples: int
    peak: float
    label: int


@dataclass
class SoundStats:
    """Running totals over records. Every frame counts the same for `mean` and `std`."""

    rate: int
    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    labels: Counter[int] = field(default_factory=Counter)
    bad: int = 0
    named_bad: list[tuple[str, str]] = field(default_factory=list)
    frames: int = 0
    sums: Any = 0.0
    squares: Any = 0.0

    def add(self, heard: Heard, frames: np.ndarray) -> None:
        """One more record, with the log energies [N, F] of its whole frames."""
        self.seconds.append(heard.samples / self.rate)
        self.peaks.append(heard.peak)
        self.labels[heard.label] += 1
        self.frames += len(frames)
        self.sums, self.squares = self.sums + frames.sum(axis=0), self.squares + np.square(frames).sum(axis=0)

    def add_bad(self, name: str, reason: str) -> None:
        """One that cannot be read."""
        self.bad += 1
        if len(self.named_bad) < _LISTED:
            self.named_bad.append((name, reason))

    def told(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """All of it as plain data: quantiles of seconds and peaks, `mean` and `std` of every band and of all of them."""
        mean = self.sums / self.frames
        square = self.squares / self.frames
        labels = {number: count for number, count in sorted(self.labels.items()) if number >= 0}
        return {
            "records": len(self.seconds),
            "seconds": _quantiles(self.seconds),
            "peak": _quantiles(self.peaks),
            "mean": [round(float(x), 4) for x in mean],
            "std": [round(float(x), 4) for x in np.sqrt(np.maximum(square - mean**2, 0))],
            "mean_of_all": round(float(mean.mean()), 4),
            "std_of_all": round(float(np.sqrt(max(square.mean() - mean.mean() ** 2, 0))), 4),
            "labels": {classes[n] if n < len(classes) else str(n): count for n, count in labels.items()},
            "without_label": self.labels[-1],
            "bad": self.bad,
            "bad_records": [{"name": name, "reason": reason} for name, reason in self.named_bad],
        }


def stats(source: Source, mel: LogMel, threads: int, advance: Advance = lambda records: None) -> dict[str, Any]:
    """What `source` holds. UserError where no record is a recording that can be read, or long enough for a frame."""
    found, energies = SoundStats(mel.rate), jax.jit(mel)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(source), _AT_A_TIME):
            some = range(start, min(start + _AT_A_TIME, len(source)))
            for index, heard in zip(some, pool.map(functools.partial(_tried, source), some), strict=True):
                if isinstance(heard, Heard):
                    found.add(heard, np.asarray(energies(heard.wave), np.float64)[: int(mel.frames_of(heard.samples))])
                else:
                    found.add_bad(_name(source, index), f"{type(heard).__name__}: {heard}")
                advance(1)
    if not found.frames:
        raise UserError(
            f"none of {len(source)} records is a recording that can be read; the first bad: {found.named_bad[:1]}"
        )
    return found.told(tuple(getattr(source, "classes", ())))


def _tried(source: Any, index: int) -> Heard | Exception:
    try:
        return _heard(source[index])
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever a decoder raises on a damaged file
        return error


def _heard(record: dict[str, Any]) -> Heard:
    wave = np.asarray(record["wave"], np.float32)
    mono = wave if wave.ndim == 1 else wave.mean(axis=1)
    samples = int(np.sum(record.get("valid", np.ones(len(mono), bool))))
    return Heard(mono, samples, float(np.abs(mono).max(initial=0)), int(record.get("label", -1)))


def _quantiles(values: list[float]) -> dict[str, float]:
    places = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}
    return {name: round(float(np.quantile(values, place)), 3) for name, place in places.items()}


def _name(source: Any, index: int) -> str:
    return source.name_of(index) if hasattr(source, "name_of") else str(index)
