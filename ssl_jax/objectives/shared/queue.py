"""A queue of embeddings of earlier batches, as a plain dict of arrays for `extra`.

`rows` [K, ...] hold the embeddings, `next` is where the next batch goes, and `filled` counts the rows that were written.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.losses.contrastive import normalize

Queue = dict[str, Array]


def check_queue(size: int, batch: int) -> None:
    """UserError, with the nearest sizes that fit, unless `size` is a positive multiple of `batch`."""
    if size < batch or size % batch:
        near = [n for n in (size // batch * batch, (size // batch + 1) * batch) if n > 0]
        raise UserError(
            f"objective.queue={size} is not a multiple of batch_size={batch}: a batch would be split at its end; "
            f"use {' or '.join(map(str, near))}"
        )


def random_queue(key: Array, size: int, width: int) -> Queue:
    """A full queue of `size` random unit vectors (MoCo)."""
    return {**empty_queue(size, width), "rows": normalize(jax.random.normal(key, (size, width))), "filled": _int(size)}


def empty_queue(size: int, *shape: int) -> Queue:
    """A queue for `size` rows of `shape`, with none written yet (SwAV)."""
    return {"rows": jnp.zeros((size, *shape)), "next": _int(0), "filled": _int(0)}


def enqueue(queue: Queue, rows: Array) -> Queue:
    """`queue` after `rows` [N, ...] took the place of its oldest N; its length is a multiple of N, so none wraps."""
    size, count = queue["rows"].shape[0], rows.shape[0]
    written = jax.lax.dynamic_update_slice_in_dim(
        queue["rows"], rows.astype(queue["rows"].dtype), queue["next"], axis=0
    )
    filled = jnp.minimum(queue["filled"] + count, size)
    return {"rows": written, "next": (queue["next"] + count) % size, "filled": filled}


def is_full(queue: Queue) -> Array:
    """True, as a scalar, once every row was written."""
    return queue["filled"] == queue["rows"].shape[0]


def _int(value: int) -> Array:
    return jnp.asarray(value, jnp.int32)
