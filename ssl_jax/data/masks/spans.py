"""Spans of frames that are hidden, and which other hidden frames each is told from.

All functions are of one sequence with frames that are `valid` bool [N], those before the padding, for `vmap`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def hidden_spans(key: Array, valid: Array, share: float, length: int, least: int = 2) -> Array:
    """Bool [N]: the frames under `floor(share L / length + u)` spans of `length` frames, for a sequence of L frames.

    wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477, section 3.1 and appendix A, whose p is `share / length`; u is uniform in
    [0, 1)): starts are drawn without replacement from 0 to L - length - 1, at least `least` of them, and spans may overlap. A
    sequence that is not longer than a span has one start, 0.
    """
    of_count, of_starts = jax.random.split(key)
    frames = valid.sum()
    room = jnp.maximum(frames - length, 1)
    count = jnp.floor(share * frames / length + jax.random.uniform(of_count)).astype(jnp.int32)
    index = jnp.arange(len(valid))
    noise = jnp.where(index < room, jax.random.uniform(of_starts, valid.shape), 2.0)
    starts = jnp.argsort(jnp.argsort(noise)) < jnp.minimum(jnp.maximum(count, least), room)
    begun = jnp.cumsum(jnp.pad(starts, (length, 0)))
    return (begun[length:] > begun[:-length]) & valid


def other_places(key: Array, hidden: Array, count: int) -> Array:
    """Int [N, count]: for each frame that is `hidden` [N] so many of the other hidden ones, drawn with replacement.

    Where there is no other one it is the frame itself. What stands for frames that are not hidden means nothing.
    """
    total = hidden.sum()
    rank = jnp.cumsum(hidden) - 1
    places = jnp.argsort(~hidden, stable=True)
    drawn = jnp.floor(jax.random.uniform(key, (len(hidden), count)) * (total - 1)).astype(jnp.int32)
    drawn = jnp.clip(drawn, 0, jnp.maximum(total - 2, 0))
    return places[drawn + ((drawn >= rank[:, None]) & (total > 1))]
