"""Recordings in files: what a folder and a list of them share."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data.audio import decode
from ssl_jax.data.sources.arrays import HASH_ROWS, spread
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.folder import head
from ssl_jax.data.stages import stage
from ssl_jax.errors import UserError

_THREADS = 16


@dataclass(frozen=True, eq=False, kw_only=True)
class AudioFiles:
    """Base of sources of recordings: `wave` float32 [T], `valid` bool [T], and labels; [T, C] with `channels=C`.

    A record is a stretch of one file, of which nothing else is decoded. A file shorter than that is followed by zeros that are
    not `valid`. A subclass has `paths`, `place` and `labels_of`.

    Args:
      rate: samples a second, to which every recording is brought (soxr; it stands in `notes`).
      seconds: of a record; T is `rate * seconds`.
      channels: 1, to which all are averaged, or the number that all have.
      windows: stretches of each file: so many at places that are drawn from (`seed`, file, stretch), or None for all, one after
        another, for which every header is read.

    A file that cannot be read, is shorter than 5 ms or than its header says, or holds NaN is a bad record.

    Raises:
      UserError: soundfile or soxr is not installed, or an option that makes no sense.
    """

    rate: int = 16_000
    seconds: float = 1.0
    channels: int = 1
    windows: int | None = 1
    seed: int = 0
    classes: tuple[str, ...] = field(init=False, repr=False, default=())
    labels: dict[str, tuple[str, ...]] = field(init=False, repr=False, default_factory=dict)
    notes: tuple[str, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        decode.require()
        if self.rate < 1000 or self.seconds <= 0 or self.channels < 1 or (self.windows or 1) < 1:
            raise UserError(
                f"rate={self.rate}, seconds={self.seconds}, channels={self.channels}, windows={self.windows}: at least 1000 "
                "samples a second, some time, one channel, and one window of each file (None: all)"
            )

    @property
    def paths(self) -> Sequence[str]:
        """The files as people call them."""
        raise NotImplementedError

    def place(self, file: int) -> str:
        """Where a file lies."""
        raise NotImplementedError

    def labels_of(self, file: int) -> Record:
        """The fields of a file that are labels."""
        return {}

    @property
    def size(self) -> int:
        """Samples of a record."""
        return samples(self.rate, self.seconds)

    @property
    def wanted(self) -> decode.Wanted:
        """What its recordings become."""
        return decode.Wanted(self.rate, self.size, self.channels)

    def __len__(self) -> int:
        return int(self.starts[-1]) if self.windows is None else self.windows * len(self.paths)

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """With `windows=None`: the number of each file's first record, and of all."""
        with ThreadPoolExecutor(_THREADS) as pool:
            lengths = np.fromiter(pool.map(self._length, range(len(self.paths))), np.int64, len(self.paths))
        return np.concatenate([[0], np.cumsum(np.maximum(1, -(-lengths // self.size)))])

    def file_of(self, index: int) -> tuple[int, int]:
        """The file of a record, and which of its stretches it is."""
        if self.windows is not None:
            return divmod(index, self.windows)
        file = int(np.searchsorted(self.starts, index, "right")) - 1
        return file, index - int(self.starts[file])

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        file, window = self.file_of(index)
        with stage("decode"):
            return padded(self._stretch(file, window), self.size) | self.labels_of(file)

    def name_of(self, index: int) -> str:
        """The file, and which stretch of it where there are several."""
        file, window = self.file_of(index)
        return self.paths[file] if self.windows == 1 else f"{self.paths[file]} #{window}"

    def fingerprint(self) -> str:
        """SHA-256 of the options, all paths and labels, and size and first 64 kB of (evenly spread) 4,096 files at most."""
        digest = self._digest()
        digest.update("\n".join(self.paths).encode("utf-8", "surrogateescape"))
        for i in spread(len(self.paths), HASH_ROWS):
            digest.update(head(self.place(int(i))))
        return digest.hexdigest()

    @staticmethod
    def example(rate: int = 16_000, seconds: float = 1.0, channels: int = 1, **_: object) -> Record:
        """A record of zeros, for `ssl-jax plan`: reads nothing."""
        size = samples(rate, seconds)
        return padded(np.zeros((size, channels), np.float32), size) | {"label": np.zeros((), np.int32)}

    def _digest(self) -> Any:
        told = (
            self.rate,
            self.seconds,
            self.channels,
            self.windows,
            self.seed,
            decode.RESAMPLER,
            self.classes,
            self.labels,
        )
        return hashlib.sha256(f"{told}\n".encode("utf-8", "surrogateescape"))

    def _note(self, notes: Iterable[str] = ()) -> None:
        object.__setattr__(self, "notes", (decode.libraries(), *notes))

    def _length(self, file: int) -> int:
        try:
            return decode.told(self.place(file)).length(self.rate)
        except (ValueError, OSError):
            return 0  # one bad record

    def _stretch(self, file: int, window: int) -> np.ndarray:
        path = self.place(file)
        if self.windows is None:
            return decode.stretch_at(path, self.wanted, window * self.size)
        return decode.stretch(path, self.wanted, np.random.default_rng([self.seed, file, window]).random())

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """Values of files as those of records."""
        if self.windows is not None:
            return np.repeat(values, self.windows, axis=0)
        return np.repeat(values, np.diff(self.starts), axis=0)


def padded(wave: np.ndarray, size: int) -> Record:
    """`wave` [size], or [size, C] of several channels, and `valid` of a stretch [t, C] of at most `size` samples."""
    whole = np.zeros((size, wave.shape[1]), np.float32)
    whole[: len(wave)] = wave
    return {"wave": whole[:, 0] if wave.shape[1] == 1 else whole, "valid": np.arange(size) < len(wave)}


def samples(rate: int, seconds: float) -> int:
    """How many samples so many seconds are."""
    return max(1, round(rate * seconds))
