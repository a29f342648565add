"""Whole numbers among embeddings: what a gradient cache keeps are floats, and float32 tells no two above 2^24 apart."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

_HALF = 2**16


def halves(number: Array) -> Array:
    """Numbers int [...] as float32 [..., 2].

    >>> bool((whole(halves(jnp.array([2**24 + 1, 7]))) == jnp.array([2**24 + 1, 7])).all())
    True
    """
    return jnp.stack(jnp.divmod(number.astype(jnp.int32), _HALF), axis=-1).astype(jnp.float32)


def whole(number: Array) -> Array:
    """The opposite of `halves`."""
    high, low = jnp.moveaxis(number.astype(jnp.int32), -1, 0)
    return high * _HALF + low
