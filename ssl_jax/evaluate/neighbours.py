"""Exact nearest neighbours by cosine: the bank streams past the queries in blocks, and only the nearest so far are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.errors import UserError

_BLOCK = 8192  # rows of the bank that are on a device at a time
_QUERIES = 1024  # rows that are compared with a block at once: 32 MB of similarities
_FEWEST = 256  # rows for which another device is worth its compilation
_PARTS = 16  # parts of queries that each device has while the bank streams past once
_NOBODY = -1


class _Nearest(NamedTuple):
    """Similarities [Q, k] and which `rows` of the bank [Q, k], of the nearest so far, nearest first."""

    similarity: Array
    rows: Array


class _Part(NamedTuple):
    """Some queries on their device: `x` [Q, F] of length 1, which row of the bank each is, and how many are no padding."""

    x: Array
    own: Array
    real: int


def neighbours(
    bank: np.ndarray, queries: np.ndarray, k: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine similarities and indices [Q, k] into `bank` [N, F] of the nearest to each of `queries` [Q, F], nearest first.

    `own` [Q]: which row of the bank a query itself is, and is not compared with. Queries are divided over the devices of this
    process. Beside the answer, memory does not grow with bank or queries; either may be mapped from a file. Of equally near
    rows the first in the bank comes first.

    Raises:
      UserError: `k` exceeds what each query is compared with.
    """
    there = len(bank) - (own is not None)
    if k > there:
        raise UserError(f"k={k} neighbours of {there} labelled examples; use a smaller k or a larger probe split")
    own = np.full(len(queries), _NOBODY) if own is None else own
    devices = jax.local_devices()
    at_once = _QUERIES * _PARTS * len(devices)
    found = [
        _of_some(bank, queries[start : start + at_once], own[start : start + at_once], k, devices)
        for start in range(0, len(queries), at_once)
    ]
    similarity, index = zip(*found, strict=True)
    return np.concatenate(similarity), np.concatenate(index)


def _of_some(
    bank: np.ndarray, queries: np.ndarray, own: np.ndarray, k: int, devices: list[Any]
) -> tuple[np.ndarray, np.ndarray]:
    parts = list(_parts(queries, own, devices))
    nearest = [_nobody(part, k) for part in parts]
    size = min(_BLOCK, len(bank))
    for start in range(0, len(bank), size):
        rows = _unit(bank[start : start + size])
        block = [jax.device_put(_padded(rows, size), device) for device in devices[: len(parts)]]
        nearest = [
            _merged(now, part.x, part.own, block[i % len(devices)], start, len(bank))
            for i, (now, part) in enumerate(zip(nearest, parts, strict=True))
        ]
        jax.block_until_ready(nearest)  # else all blocks are queued, and the whole bank is in memory
    similarity, index = (
        np.concatenate([np.asarray(now[i])[: part.real] for now, part in zip(nearest, parts, strict=True)])
        for i in range(2)
    )
    return similarity, index


def _parts(queries: np.ndarray, own: np.ndarray, devices: list[Any]) -> Iterator[_Part]:
    """The queries in parts of one shape, on one device after another."""
    size = min(len(queries), _QUERIES, max(_FEWEST, -(-len(queries) // len(devices))))
    for number, start in enumerate(range(0, len(queries), size)):
        x, who = _unit(queries[start : start + size]), own[start : start + size].astype(np.int32)
        device = devices[number % len(devices)]
        yield _Part(
            jax.device_put(_padded(x, size), device),
            jax.device_put(np.pad(who, (0, size - len(who)), constant_values=_NOBODY), device),
            len(x),
        )


def _nobody(part: _Part, k: int) -> _Nearest:
    empty = jnp.full((len(part.x), k), -jnp.inf)
    return jax.device_put(_Nearest(empty, jnp.zeros(empty.shape, jnp.int32)), part.x.sharding)


@jax.jit
def _merged(now: _Nearest, x: Array, own: Array, block: Array, start: int, end: int) -> _Nearest:
    """The nearest among those so far and the rows of `block`, which are the bank's from `start` on, as far as `end`."""
    similarity = jnp.matmul(x, block.T, precision=jax.lax.Precision.HIGHEST)
    index = start + jnp.arange(len(block))
    excluded = (index == own[:, None]) | (index >= end)
    new, at = jax.lax.top_k(jnp.where(excluded, -jnp.inf, similarity), min(now.rows.shape[1], len(block)))
    similarity = jnp.concatenate([now.similarity, new], axis=1)
    best, place = jax.lax.top_k(similarity, now.rows.shape[1])
    return _Nearest(best, jnp.take_along_axis(jnp.concatenate([now.rows, index[at]], axis=1), place, axis=1))


def _unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _padded(x: np.ndarray, size: int) -> np.ndarray:
    """Up to `size` rows, so that everything is compiled once."""
    return np.pad(x, ((0, size - len(x)), (0, 0)))
