"""Which pairs are one picture, and what was done to it: exact, re-encoded, resized, cropped, flipped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ssl_jax.audit.aligned import Compared, compared
from ssl_jax.audit.candidates import WAYS, Candidates, candidates
from ssl_jax.audit.prints import Prints

KINDS = (
    "exact",
    "re-encoded",
    "resized",
    "cropped",
    "flipped",
)  # in the order in which a pair is given the first that holds
SLIGHT = 0.015  # of a side: what is cut off less shows nothing
BRIGHTNESS, TINT = 3.5, 8.0  # levels of 255
# (cosine at least, difference of one cell at most): what planted pairs keep, docs/results/duplicates.md.
LIMITS = {"re-encoded": (0.97, 10.0), "resized": (0.975, 18.0), "cropped": (0.975, 14.0), "flipped": (0.97, 14.0)}


class Pairs(NamedTuple):
    """P pairs of places `i` < `j` int32 [P], the `kind` (of `KINDS`) int8 [P], and how far apart they are: `distance` is 1 - the
    cosine of whitened frequencies [P]. `box` [P, 4] is what one shows of the other, top, left, height and width as fractions.
    """

    i: np.ndarray
    j: np.ndarray
    kind: np.ndarray
    distance: np.ndarray
    box: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Pairs:
        """Some of the pairs."""
        return Pairs(*(part[rows] for part in self))


class Found(NamedTuple):
    """What was found among N pictures: `same` int32 [N], the first of those with the same pixels (itself if there is none); the
    `pairs` of such first ones that are nearly one picture; and the `doubtful`, alike by their hashes and not by their pixels.
    """

    same: np.ndarray
    pairs: Pairs
    doubtful: Candidates


def found(prints: Prints, first: int | None = None) -> Found:
    """All pairs; with `first`, only pairs of one of the first so many pictures with one of the others."""
    same = alike_to_the_bit(prints.digest)
    lone = same == np.arange(len(same))

    def wanted(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        across = True if first is None else (i < first) != (j < first)
        return lone[i] & lone[j] & across

    tried = candidates(prints.thumb, wanted)
    kind, distance, box = _judged(prints, tried, compared(prints, tried))
    sure = kind > 0
    pairs = Pairs(tried.i, tried.j, kind, distance, box).take(sure)
    return Found(same, _with_exact_flips(prints, same, pairs, first), tried.take(~sure))


def alike_to_the_bit(digest: np.ndarray) -> np.ndarray:
    """For each digest [N, 16] the place of the first that is equal, int32 [N]."""
    _, first, number = np.unique(_words(digest), return_index=True, return_inverse=True)
    return first[number].astype(np.int32)


def _judged(prints: Prints, tried: Candidates, seen: Compared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kind (0 for none), distance and box of each pair."""
    flipped = np.array([turn == "mirrored" for turn, _, _ in WAYS])[tried.way]
    cropped = np.abs(seen.box - np.array([0, 0, 1, 1])).max(axis=1) > SLIGHT
    resized = (prints.size[tried.i] != prints.size[tried.j]).any(axis=1)
    kind = np.select([flipped, cropped, resized], [KINDS.index(k) for k in ("flipped", "cropped", "resized")], 1)
    least, most = (np.array([0.0, *(LIMITS[k][n] for k in KINDS[1:])]) for n in (0, 1))
    plain = (seen.brightness <= BRIGHTNESS) & (seen.tint <= TINT)
    sure = plain & (seen.alike >= least[kind]) & (seen.local <= most[kind])
    return np.where(sure, kind, 0).astype(np.int8), np.maximum(1 - seen.alike, 0), seen.box


def _with_exact_flips(prints: Prints, same: np.ndarray, pairs: Pairs, first: int | None) -> Pairs:
    """The pairs, and those of a picture and its mirror image to the bit: distance 0, however little there is to see in them."""
    digests, order = np.unique(_words(prints.digest), return_index=True)
    mirror = _words(prints.mirrored)
    place = np.minimum(np.searchsorted(digests, mirror), len(digests) - 1)
    i, j = np.arange(len(same)), order[place]
    known = (digests[place] == mirror) & (same == i) & (i < j)
    known &= True if first is None else (i < first) != (j < first)
    i, j = i[known].astype(np.int32), j[known].astype(np.int32)
    box = np.tile(np.array([0, 0, 1, 1], np.float32), (len(i), 1))
    flips = Pairs(i, j, np.full(len(i), KINDS.index("flipped"), np.int8), np.zeros(len(i)), box)
    both = Pairs(*(np.concatenate(column) for column in zip(flips, pairs, strict=True)))
    _, once = np.unique(both.i.astype(np.int64) * len(same) + both.j, return_index=True)
    return both.take(np.sort(once))


def _words(digest: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(digest).view(f"S{digest.shape[1]}").ravel()
