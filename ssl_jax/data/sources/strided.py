"""Long documents in windows that overlap, so that every token is told once, and with as many before it as fit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data.sources.base import Record, Source
from ssl_jax.data.text.rows import joined
from ssl_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class Strided:
    """Windows of `length` tokens of the documents of `source` (`TokenShards`), each `stride` further on than the one before.

    Beside `tokens`, `segments` and `positions` a record has `counted` int32 [length], 1 for the tokens that no window before has
    shown: those of the first window, and the last `stride` of any other. Every token of a document is counted once. Small strides
    give each more to be told from, and cost more: `length / stride` times.
    """

    source: Source
    length: int = 1024
    stride: int = 512
    notes: tuple[str, ...] = ()
    _ends: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not hasattr(self.source, "sizes") or not hasattr(self.source, "document"):
            raise UserError(f"{type(self.source).__name__} knows no documents; name a TokenShards as data.test.source")
        if not 0 < self.stride <= self.length:
            raise UserError(f"stride={self.stride}: windows of length={self.length} need one of 1 to {self.length}")
        object.__setattr__(self, "_ends", np.cumsum(windows(np.asarray(self.source.sizes), self.length, self.stride)))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        source: Any = self.source
        document = int(np.searchsorted(self._ends, index, side="right"))
        number = index - (int(self._ends[document - 1]) if document else 0)
        signs = source.words
        ends = [[] if sign is None else [sign] for sign in (signs.start, signs.end)]
        text = np.concatenate([ends[0], source.document(document), ends[1]]).astype(np.int32)
        piece = text[number * self.stride :][: self.length]
        place = np.arange(self.length)
        counted = (place >= (self.length - self.stride if number else 0)) & (place < len(piece))
        return joined([piece], signs, self.length) | {"counted": counted.astype(np.int32)}

    def fingerprint(self) -> str:
        """SHA-256 of the inner fingerprint and the windows."""
        return hashlib.sha256(f"{self.source.fingerprint()} {self.length} {self.stride}".encode()).hexdigest()


def windows(sizes: np.ndarray, length: int, stride: int) -> np.ndarray:
    """How many windows cover documents of so many tokens [D].

    >>> windows(np.array([1, 8, 9, 12, 13]), 8, 4).tolist()
    [1, 1, 2, 2, 3]
    """
    return 1 + -(-np.maximum(sizes - length, 0) // stride)
