"""Documents of many lengths -> rows of one length: one document padded or cut, or several packed beside one another.

Documents come as `flat`, all their tokens after one another, and `lengths` [N]. Numpy only: this happens on the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssl_jax.data.text.vocabulary import Vocabulary
from ssl_jax.errors import UserError


@dataclass(frozen=True)
class Documents:
    """Tokens of documents after one another, and where each begins and ends: document i is `flat[starts[i]:starts[i + 1]]`."""

    flat: np.ndarray
    starts: np.ndarray

    @staticmethod
    def of(flat: np.ndarray, lengths: np.ndarray) -> Documents:
        """From the length of each document."""
        return Documents(flat, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.flat[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each."""
        return np.diff(self.starts)


def enclosed(tokens: np.ndarray, words: Vocabulary, length: int) -> np.ndarray:
    """A document int32 of at most `length` tokens: the start sign, as much as there is room for, the end sign."""
    start = () if words.start is None else (words.start,)
    end = () if words.end is None else (words.end,)
    return np.array([*start, *tokens[: length - len(start) - len(end)], *end], np.int32)


def padded(documents: Documents, words: Vocabulary, length: int) -> np.ndarray:
    """Rows int32 [N, length], one document each, enclosed in its signs."""
    rows = np.full((len(documents), length), words.pad or 0, np.int32)
    for i in range(len(documents)):
        document = enclosed(documents[i], words, length)
        rows[i, : len(document)] = document
    return rows


def bins(lengths: np.ndarray, length: int) -> np.ndarray:
    """Where each row begins among documents that fill rows of `length` in their order, none cut: int64 [rows + 1].

    UserError for a document that no row holds.
    """
    if len(lengths) and lengths.max() > length:
        long = int(lengths.argmax())
        raise UserError(
            f"document {long} has {lengths[long]} tokens, more than a row of {length}; use longer rows, or cut"
        )
    ends, firsts = np.cumsum(lengths), [0]
    while firsts[-1] < len(lengths):
        before = ends[firsts[-1] - 1] if firsts[-1] else 0
        firsts.append(int(np.searchsorted(ends, before + length, side="right")))
    return np.array(firsts, np.int64)


def packed(documents: list[np.ndarray], length: int, pad: int = 0) -> dict[str, np.ndarray]:
    """One row of whole documents: `tokens`, `segments` (from 1 on; 0 is padding) and `positions`, each int32 [length]."""
    sizes = [len(d) for d in documents]
    row = {
        "tokens": np.concatenate(documents),
        "segments": np.repeat(np.arange(1, len(documents) + 1), sizes),
        "positions": np.concatenate([np.arange(size) for size in sizes]),
    }
    fill = {"tokens": pad, "segments": 0, "positions": 0}
    room = length - sum(sizes)
    return {name: np.pad(x, (0, room), constant_values=fill[name]).astype(np.int32) for name, x in row.items()}
