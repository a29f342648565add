"""Which record an example is: a pure function of seed and example cursor, at any place of a run, without a table."""

from __future__ import annotations

import functools
import hashlib
import math
from typing import Any

import numpy as np

from ssl_jax.errors import UserError


def order_of(source: Any, seed: int, cursor: np.ndarray, whole: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Record ids and epochs, int64 [R], of the examples `cursor` int64 [R] of a source: by its `example_order`, if it has one.

    An epoch has a multiple of `whole` examples. UserError for a source that has an order of its own, if that is not 1.
    """
    own = getattr(source, "example_order", None)
    if callable(own) and whole > 1:
        raise UserError("data.drop_last=True: the source has an order of its own, without such epochs; set it to False")
    return own(seed, cursor) if callable(own) else order(seed, cursor, len(source), whole_batches(len(source), whole))


def whole_batches(records: int, batch_size: int) -> int:
    """How many of the `records` fill whole batches. UserError where none does."""
    if records < batch_size:
        raise UserError(
            f"data.drop_last=True: {records} records fill no batch of {batch_size}; use a smaller batch_size"
        )
    return records // batch_size * batch_size


def order(seed: int, cursor: np.ndarray, total: int, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Record ids and epochs, int64 [R], of the examples `cursor` int64 [R].

    Each epoch has the first `length` records of a permutation of `total`, or all of them.
    """
    epochs, places = np.divmod(cursor, length or total)
    ids = np.empty_like(places)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        ids[here] = permuted(places[here], total, _round_keys(seed, int(epoch), total))
    return ids, epochs


def permuted(places: np.ndarray, total: int, keys: np.ndarray) -> np.ndarray:
    """Where a random permutation of 0..total-1, fixed by `keys` uint64, sends `places` int64 [R].

    No table is made, so a billion records cost as much as ten. It is the generalised Feistel cipher on [0, a*b) of
    J. Black and P. Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002: a place is split into two digits
    and each in turn is moved by a hash of the other. `a*b` exceeds `total` by less than `a`; a result beyond `total`
    goes through again until it is inside (their "cycle walking"), which keeps it one to one.
    """
    b = np.uint64(math.isqrt(total - 1) + 1)
    a = np.uint64(-(-total // int(b)))
    found = places.astype(np.uint64)
    walking = np.arange(len(found))
    while len(walking):
        left, right = np.divmod(found[walking], b)
        for i, key in enumerate(keys):
            if i % 2 == 0:
                left = (left + _mix(right ^ key)) % a
            else:
                right = (right + _mix(left ^ key)) % b
        found[walking] = left * b + right
        walking = walking[found[walking] >= total]
    return found.astype(np.int64)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), kept to 32 bits so that sums cannot overflow."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x >> np.uint64(32)


@functools.lru_cache(maxsize=64)
def _round_keys(seed: int, epoch: int, total: int) -> np.ndarray:
    """Eight uint64 from a hash, so that neighbouring seeds and epochs have nothing in common."""
    return np.frombuffer(hashlib.sha512(f"order {seed} {epoch} {total}".encode()).digest(), "<u8")
