"""Which tokens of a text stay when part of it goes: one stretch of it, or each by chance.

All functions are of one row [T], for `vmap`; `inner` bool [T] marks the tokens that may go, and at least one of them stays.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def stretch(key: Array, inner: Array, shares: tuple[float, float]) -> Array:
    """Bool [T]: a run of the `inner` tokens, at a random place, whose share of them is drawn evenly between `shares`.

    >>> inner = jnp.arange(10) < 8
    >>> int(stretch(jax.random.key(0), inner, (0.5, 0.5)).sum())
    4
    """
    size, place = jax.random.split(key)
    total = inner.sum()
    share = jax.random.uniform(size, minval=shares[0], maxval=shares[1])
    count = jnp.clip(jnp.round(share * total).astype(jnp.int32), 1, jnp.maximum(total, 1))
    first = jax.random.randint(place, (), 0, jnp.maximum(total - count, 0) + 1)
    rank = jnp.cumsum(inner) - 1
    return inner & (rank >= first) & (rank < first + count)


def spared(key: Array, inner: Array, chance: float) -> Array:
    """Bool [T]: the `inner` tokens that stay when each goes by `chance`; the last one to go stays."""
    draw = jnp.where(inner, jax.random.uniform(key, inner.shape), -1.0)
    return inner & ((draw >= chance) | (draw == draw.max()))


def closed_up(tokens: Array, keep: Array, fill: int) -> Array:
    """The tokens [T] that are kept, in their order, then `fill`."""
    order = jnp.argsort(~keep, stable=True)
    return jnp.where(jnp.arange(len(tokens)) < keep.sum(), tokens[order], fill)
