"""Documents of many lengths -> rows of one length: one document padded or cut, or several packed beside one another.

Documents come as `flat`, all their tokens after one another, and `lengths` [N]. Numpy only: this happens on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    def chosen(self, which: np.ndarray) -> Documents:
        """Some of them."""
        lengths = self.lengths[which]
        return Documents.of(self.flat[np.repeat(self.starts[which], lengths) + _ranges(lengths)], lengths)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each."""
        return np.diff(self.starts)


def padded(documents: Documents, words: Vocabulary, length: int) -> np.ndarray:
    """Rows int32 [N, length], one document each, enclosed in its signs."""
    each = np.arange(len(documents))
    return _laid_out(documents, words, length, each, np.zeros_like(each), len(documents))["tokens"]


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


def packed(documents: Documents, words: Vocabulary, length: int, most: int | None = None) -> dict[str, np.ndarray]:
    """At most so many rows of documents beside one another, in their order, each enclosed in its signs and cut to a row.

    `tokens`, `segments` (from 1 on; 0 is padding) and `positions`, each int32 [rows, length].
    """
    sizes = np.minimum(documents.lengths + _signs(words), length)
    firsts = bins(sizes, length)[: None if most is None else most + 1]
    kept = Documents(documents.flat, documents.starts[: firsts[-1] + 1])
    row = np.repeat(np.arange(len(firsts) - 1), np.diff(firsts))
    begins = np.cumsum(sizes[: len(kept)]) - sizes[: len(kept)]
    return _laid_out(kept, words, length, row, begins - begins[firsts[:-1]][row], len(firsts) - 1)


def joined(pieces: Sequence[np.ndarray], words: Vocabulary, length: int) -> dict[str, np.ndarray]:
    """One row of texts that fit into it, each with its signs already: `tokens`, `segments`, `positions` int32 [length]."""
    sizes = np.array([len(piece) for piece in pieces])
    free = (0, length - int(sizes.sum()))
    return {
        "tokens": np.pad(np.concatenate(pieces), free, constant_values=words.pad or 0).astype(np.int32),
        "segments": np.pad(np.repeat(np.arange(1, len(sizes) + 1), sizes), free).astype(np.int32),
        "positions": np.pad(_ranges(sizes), free).astype(np.int32),
    }


def _signs(words: Vocabulary) -> int:
    return (words.start is not None) + (words.end is not None)


def _laid_out(
    documents: Documents, words: Vocabulary, length: int, row: np.ndarray, offset: np.ndarray, rows: int
) -> dict[str, np.ndarray]:
    """Rows in which document i lies in `row[i]` from `offset[i]` on. Without a loop: there may be millions."""
    if length <= _signs(words):
        raise UserError(f"length={length}: a row needs room for a token and its {_signs(words)} signs")
    first = int(words.start is not None)
    inner = np.minimum(documents.lengths, length - _signs(words))
    sizes = inner + _signs(words)
    number = np.arange(len(row)) - np.searchsorted(row, row) + 1  # of a document in its row
    made = {name: np.zeros(rows * length, np.int32) for name in ("tokens", "segments", "positions")}
    made["tokens"] += words.pad or 0
    start = row * length + offset
    place = _ranges(sizes)
    made["segments"][np.repeat(start, sizes) + place] = np.repeat(number, sizes)
    made["positions"][np.repeat(start, sizes) + place] = place
    place = _ranges(inner)
    made["tokens"][np.repeat(start + first, inner) + place] = documents.flat[
        np.repeat(documents.starts[:-1], inner) + place
    ]
    for sign, where in ((words.start, start), (words.end, start + first + inner)):
        if sign is not None:
            made["tokens"][where] = sign
    return {name: x.reshape(rows, length) for name, x in made.items()}


def _ranges(sizes: np.ndarray) -> np.ndarray:
    """0 to n - 1 for each of `sizes`, after one another."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
