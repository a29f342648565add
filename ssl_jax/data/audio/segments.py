"""Segments of a recording for tasks about their order: cut with gaps between them, each at a loudness of its own."""

from __future__ import annotations

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.audio.waves import Clip, cut, silenced
from ssl_jax.errors import UserError

MOST = 5  # segments; of six there would be 720 orders


@cache
def orders(count: int) -> np.ndarray:
    """All orders of `count` segments, int32 [count!, count]. UserError for fewer than 2, or more than can be told apart."""
    if not 2 <= count <= MOST:
        raise UserError(f"objective.segments={count}: use 2 to {MOST}, which have 2 to 120 orders")
    return np.array(list(itertools.permutations(range(count))), np.int32)


def segments(key: Array, clip: Clip, count: int, size: int) -> Clip:
    """A run of `size` samples at a random place in each of `count` equal parts of what is valid of a clip: [count, size, ...].

    Of a part that is shorter than `size` it is all, and then padding.
    """
    part, first = clip.length // count, jnp.arange(count)
    starts = part * first + jax.random.randint(key, (count,), 0, jnp.maximum(part - size, 0) + 1)

    def at(start: Array, end: Array) -> Clip:
        found = cut(clip, start, size)
        return silenced(Clip(found.wave, found.valid & (start + jnp.arange(size) < end)))

    return jax.vmap(at)(starts, part * (first + 1))


def levelled(clip: Clip, epsilon: float = 1e-5) -> Clip:
    """Waves [..., T], or [..., T, C], with mean 0 and deviation 1 over what is valid [..., T] of each, zeros elsewhere."""
    there = clip.valid.reshape(*clip.valid.shape, *[1] * (clip.wave.ndim - clip.valid.ndim))
    axes = tuple(range(clip.valid.ndim - 1, clip.wave.ndim))
    count = jnp.maximum(jnp.broadcast_to(there, clip.wave.shape).sum(axes, keepdims=True), 1)
    mean = jnp.where(there, clip.wave, 0).sum(axes, keepdims=True) / count
    centred = jnp.where(there, clip.wave - mean, 0)
    deviation = jnp.sqrt(jnp.square(centred).sum(axes, keepdims=True) / count)
    return Clip(centred / (deviation + epsilon), clip.valid)
