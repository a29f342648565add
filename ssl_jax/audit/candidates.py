"""Pairs that may be one picture: every picture against every other, in blocks of matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ssl_jax.audit.frequencies import WHOLE, Box, frequencies, mirror_signs, spread

COUNT = 8  # frequencies each way, as in pHash
ENOUGH = 0.93  # cosine from which a pair is looked at
MOST = 8  # pairs that are looked at for each picture, the most alike
ROWS, COLUMNS = 2048, 8192
THREADS = 2

CUT = 0.05  # of the height and of the width: what `CROPS` leave away, in the middle or in a corner
CROPS: tuple[Box, ...] = tuple(
    (CUT * down, CUT * right, 1 - CUT, 1 - CUT) for down, right in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))
)
# What was done to the first of a pair, and to the second. A mirrored picture is looked for whole.
WAYS: tuple[tuple[str, Box, Box], ...] = (
    ("as it is", WHOLE, WHOLE),
    ("mirrored", WHOLE, WHOLE),
    *(("as it is", crop, WHOLE) for crop in CROPS),
    *(("as it is", WHOLE, crop) for crop in CROPS),
)


class Candidates(NamedTuple):
    """P pairs: places `i` < `j` int32 [P], the `way` (of `WAYS`) int8 [P] in which they are most alike, and
    the cosine `alike` [P]."""

    i: np.ndarray
    j: np.ndarray
    way: np.ndarray
    alike: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Candidates:
        """Some of the pairs."""
        return Candidates(*(part[rows] for part in self))


def candidates(thumbs: np.ndarray, wanted: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None) -> Candidates:
    """Pairs of thumbnails uint8 [N, 32, 32] that are alike, the `MOST` most alike of each; `wanted(i, j)` may leave some out."""
    hashes = Hashes(thumbs)
    blocks = [(r, c) for r in range(0, len(thumbs), ROWS) for c in range(0, len(thumbs), COLUMNS) if c + COLUMNS > r]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda block: _most_alike(_of_block(hashes, block[0], block[1], wanted)), blocks))
    return _most_alike(_joined(found))


class Hashes:
    """The whitened low frequencies of thumbnails, made again for a block whenever it is looked at: they are cheaper than room."""

    def __init__(self, thumbs: np.ndarray) -> None:
        self._thumbs = thumbs
        self._spread = spread(frequencies(thumbs[:: max(1, len(thumbs) // 20_000)], COUNT), COUNT)

    def __call__(self, places: slice, box: Box = WHOLE) -> np.ndarray:
        """Rows of length 1, float32 [n, COUNT^2 - 1]."""
        found = frequencies(self._thumbs[places], COUNT, box) / self._spread
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)


def _of_block(hashes: Hashes, row: int, column: int, wanted: Callable | None) -> Candidates:
    rows, columns = slice(row, row + ROWS), slice(column, column + COLUMNS)
    return _best_ways(
        _joined([_above(row, column, cosine, way, wanted) for way, cosine in _products(hashes, rows, columns)])
    )


def _products(hashes: Hashes, rows: slice, columns: slice) -> Iterator[tuple[int, np.ndarray]]:
    """For each of `WAYS` the cosines [rows, columns]; the array is used again for the next."""
    whole = {"rows": hashes(rows), "columns": hashes(columns)}
    cosine = np.empty((len(whole["rows"]), len(whole["columns"])), np.float32)
    for way, (turn, first, second) in enumerate(WAYS):
        left = whole["rows"] if first == WHOLE else hashes(rows, first)
        right = whole["columns"] if second == WHOLE else hashes(columns, second)
        np.matmul(left * mirror_signs(COUNT) if turn == "mirrored" else left, right.T, out=cosine)
        yield way, cosine


def _above(row: int, column: int, cosine: np.ndarray, way: int, wanted: Callable | None) -> Candidates:
    i, j = np.divmod(np.flatnonzero(cosine >= ENOUGH), cosine.shape[1])
    alike = cosine[i, j]
    i, j = (i + row).astype(np.int32), (j + column).astype(np.int32)
    kept = i < j if wanted is None else (i < j) & wanted(i, j)
    return Candidates(i, j, np.full(len(i), way, np.int8), alike).take(kept)


def _best_ways(pairs: Candidates) -> Candidates:
    """One row for each pair: the way in which it is most alike."""
    order = np.lexsort((-pairs.alike, pairs.j, pairs.i))
    pairs = pairs.take(order)
    first = np.ones(len(order), bool)
    first[1:] = (pairs.i[1:] != pairs.i[:-1]) | (pairs.j[1:] != pairs.j[:-1])
    return pairs.take(first)


def _most_alike(pairs: Candidates) -> Candidates:
    """The pairs that are among the `MOST` most alike of one of their two."""
    return pairs.take((_rank(pairs.i, pairs.alike) < MOST) | (_rank(pairs.j, pairs.alike) < MOST))


def _rank(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The place of each value [P] in its group, 0 for the largest."""
    order = np.lexsort((-value, group))
    new = np.ones(len(order), bool)
    new[1:] = group[order][1:] != group[order][:-1]
    starts = np.flatnonzero(new)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return rank


def _joined(parts: list[Candidates]) -> Candidates:
    return Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))
