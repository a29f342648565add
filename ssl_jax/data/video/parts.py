"""Short clips of a clip, one after the other with gaps between them, for tasks about their order."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError


def short_clips(key: Array, clip: Array, count: int, frames: int) -> Array:
    """`frames` frames at a random place in each of `count` equal parts of a clip [T, ...]: [count, frames, ...].

    Frames that are over at the end are in no part. UserError where a part has fewer than `frames`.
    """
    size = len(clip) // count
    if size < frames:
        raise UserError(
            f"objective.parts={count}, objective.frames={frames}: clips of {len(clip)} frames have parts of {size}; use fewer, "
            "or longer clips in data and augment"
        )
    starts = size * jnp.arange(count) + jax.random.randint(key, (count,), 0, size - frames + 1)
    return clip[starts[:, None] + jnp.arange(frames)]
