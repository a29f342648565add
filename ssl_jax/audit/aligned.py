"""How alike two thumbnails are once one is laid on the other: where it lies, and what is left of the difference.

Which part of one picture the other shows is found by Gauss-Newton steps on four numbers, the ends of its height and width,
with brightness and contrast free (B. Lucas and T. Kanade, "An Iterative Image Registration Technique", IJCAI 1981).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ssl_jax.audit.candidates import WAYS, Candidates
from ssl_jax.audit.frequencies import SIDE, WHOLE, frequencies, spread
from ssl_jax.audit.prints import Prints

COARSE = 16  # pixels each way on which pictures are laid
STEPS = 3
SMALLEST = 0.8  # of a side: less is another cut than a slight one
CHUNK = 1024
THREADS = 2
CELLS = 8  # each way, whose means are compared
HARDLY = 0.3  # of what keeps a pair from being alike: a picture laid elsewhere has to take more away
FINE = 12  # frequencies each way that are compared in the end


class Compared(NamedTuple):
    """P pairs: `box` [P, 4] (top, left, height, width as fractions) is what the smaller cut shows of the other picture,
    `alike` [P] the cosine of whitened frequencies; in levels of 255 the differences of `brightness` [P], of the cell of an
    8 x 8 grid that differs most (`local` [P]) and of colour (`tint` [P]); `of_first` [P] whether the first is the larger cut.
    """

    box: np.ndarray
    alike: np.ndarray
    brightness: np.ndarray
    local: np.ndarray
    tint: np.ndarray
    of_first: np.ndarray


class Score(NamedTuple):
    """As in `Compared`, of one way to lay the pictures on each other."""

    box: np.ndarray
    alike: np.ndarray
    brightness: np.ndarray
    local: np.ndarray


def compared(prints: Prints, pairs: Candidates) -> Compared:
    """The pairs laid on each other, as far as that makes them more alike."""
    spreads = spreads_of(prints.thumb)
    parts = [pairs.take(slice(start, start + CHUNK)) for start in range(0, len(pairs.i), CHUNK)]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda part: _compared(prints, part, spreads), parts))
    none = np.zeros(0)
    empty = Compared(np.zeros((0, 4)), none, none, none, none, np.zeros(0, bool))
    return Compared(*(np.concatenate(column) for column in zip(empty, *found, strict=True)))


def spreads_of(thumbs: np.ndarray) -> dict[int, np.ndarray]:
    """How much each frequency varies, by how many are compared."""
    some = thumbs[:: max(1, len(thumbs) // 10_000)]
    return {count: spread(frequencies(some, count), count) for count in range(5, FINE + 1)}


def _compared(prints: Prints, pairs: Candidates, spreads: dict[int, np.ndarray]) -> Compared:
    ways = [WAYS[way] for way in pairs.way]
    mirrored, of_first = (
        np.array(x) for x in zip(*((turn == "mirrored", b == WHOLE) for turn, _, b in ways), strict=True)
    )
    first, second = _turned(prints.thumb[pairs.i], mirrored), prints.thumb[pairs.j].astype(np.float32)
    side = of_first[:, None, None]
    whole, part = np.where(side, first, second), np.where(side, second, first)
    start = np.array([a if b == WHOLE else b for _, a, b in ways], np.float32)
    count = _fine(np.minimum(prints.size[pairs.i].min(axis=1), prints.size[pairs.j].min(axis=1)))
    laid_at = (np.tile(np.array(WHOLE, np.float32), (len(ways), 1)), laid(whole, part, start))
    better = _better(*(_scored(whole, part, box, count, spreads) for box in laid_at))
    tint = _turned(_colour(prints.tint[pairs.i]), mirrored) - _colour(prints.tint[pairs.j])
    return Compared(*better, np.abs(tint).mean(axis=(1, 2, 3)), of_first)


def _better(first: Score, second: Score) -> Score:
    """Of two ways to lay pictures the better; the first where the second is hardly better."""
    other = second.alike > first.alike + HARDLY * (1 - first.alike)
    return Score(
        *(np.where(other if a.ndim == 1 else other[:, None], b, a) for a, b in zip(first, second, strict=True))
    )


def _colour(tint: np.ndarray) -> np.ndarray:
    """What red, green and blue differ from their mean."""
    return tint - tint.mean(axis=-1, keepdims=True, dtype=np.float32)


def _turned(x: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    return np.where(mirrored.reshape(-1, *[1] * (x.ndim - 1)), x[:, :, ::-1], x).astype(np.float32)


def _fine(side: np.ndarray) -> np.ndarray:
    """How many frequencies a picture of so many pixels has that resizing leaves alone."""
    return np.clip(side * 3 // 7, 5, FINE)


def _scored(
    whole: np.ndarray, part: np.ndarray, box: np.ndarray, count: np.ndarray, spreads: dict[int, np.ndarray]
) -> Score:
    """How alike they are with the part laid there."""
    seen = shown(whole, box, SIDE)
    alike = np.empty(len(box), np.float32)
    for k in np.unique(count):
        rows = count == k
        a, b = (_length_one(frequencies(x[rows], int(k)) / spreads[int(k)]) for x in (seen, part))
        alike[rows] = (a * b).sum(axis=1)
    cells = (seen - part).reshape(len(seen), CELLS, SIDE // CELLS, CELLS, SIDE // CELLS).mean(axis=(2, 4))
    return Score(box, alike, np.abs(cells.mean(axis=(1, 2))), np.abs(cells).max(axis=(1, 2)))


def _length_one(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)


def shown(whole: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """The parts `box` [P, 4] of pictures [P, SIDE, SIDE] as [P, side, side]."""
    rows, columns = (_weights(box[:, axis], box[:, 2 + axis], side) for axis in (0, 1))
    return rows @ whole @ columns.transpose(0, 2, 1)


def _weights(start: np.ndarray, length: np.ndarray, side: int) -> np.ndarray:
    """As `frequencies.resampling`, for each of P starts and lengths: [P, side, SIDE]."""
    step = SIDE * length[:, None, None] / side
    centre = SIDE * start[:, None, None] + (np.arange(side)[:, None] + 0.5) * step
    weight = np.maximum(1 - np.abs(np.arange(SIDE) + 0.5 - centre) / np.maximum(step, 1.0), 0)
    return (weight / np.maximum(weight.sum(axis=2, keepdims=True), 1e-6)).astype(np.float32)


def laid(whole: np.ndarray, part: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The boxes [P, 4] of `whole` that look most like `part`, from those given on."""
    target = shown(part, np.tile(np.array(WHOLE, np.float32), (len(part), 1)), COARSE)
    for _ in range(STEPS):
        box = _step(shown(whole, box, COARSE), target, box)
    return box


def _step(seen: np.ndarray, target: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A Gauss-Newton step: `target = (1 + c) seen + b + d(seen)/d(box) . change` by least squares."""
    down, right = np.gradient(seen, axis=(1, 2))
    down, right = (COARSE * slope / box[:, axis, None, None] for slope, axis in ((down, 2), (right, 3)))
    at = ((np.arange(COARSE) + 0.5) / COARSE).astype(np.float32)
    columns = (down, right, down * at[:, None], right * at, seen, np.ones_like(seen))
    system = np.stack(columns, axis=-1).reshape(len(seen), -1, len(columns))
    normal = system.transpose(0, 2, 1) @ system
    ridge = (
        1e-4 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(len(columns), dtype=np.float32) / len(columns)
    )
    right_side = system.transpose(0, 2, 1) @ (target - seen).reshape(len(seen), -1, 1)
    change = np.linalg.solve(normal + ridge + 1e-3 * np.eye(len(columns), dtype=np.float32), right_side)[:, :4, 0]
    return _inside(box + np.clip(change, -0.05, 0.05))


def _inside(box: np.ndarray) -> np.ndarray:
    """Boxes that lie in the picture and are no smaller than `SMALLEST`."""
    length = np.clip(box[:, 2:], SMALLEST, 1)
    return np.concatenate([np.clip(box[:, :2], 0, 1 - length), length], axis=1).astype(np.float32)
