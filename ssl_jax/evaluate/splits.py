"""Which labelled records: stratified held-out slices, folds and few-label draws, each a pure function of a seed."""

from __future__ import annotations

import hashlib

import numpy as np

from ssl_jax.data.few import by_class
from ssl_jax.data.few import draw as draw


def folds(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A fold number in [0, count) for each of `labels` [N]; every class is spread as evenly as it can be."""
    rng = np.random.default_rng(seed)
    number, start = np.empty(len(labels), np.int64), 0
    for members in by_class(labels):
        # Going on where the last class ended keeps the folds equal in size too.
        number[rng.permutation(members)] = (start + np.arange(len(members))) % count
        start += len(members)
    return number


def held_out(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Bool [N]: about `fraction` of every class of `labels`, at least one record but never all of a class."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(len(labels), bool)
    for members in by_class(labels):
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        mask[rng.permutation(members)[:count]] = True
    return mask


def digest(ids: np.ndarray) -> str:
    """SHA-256 (first 16 hex digits) of record ids: which records a number was measured on."""
    return hashlib.sha256(np.ascontiguousarray(ids, "<i8").data).hexdigest()[:16]
