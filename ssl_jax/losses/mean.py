"""A mean that survives splitting."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Mean(NamedTuple):
    """`sum(total) / sum(weight)` over microbatches and devices.

    `weight` depends on the data (a count of rows, tokens or pixels), never on the parameters.
    """

    total: Array
    weight: Array

    @property
    def value(self) -> Array:
        """`total / weight`, a scalar."""
        return self.total / self.weight


def mean_of(values: Array, weights: Array | None = None) -> Mean:
    """`Mean` of `values` (any shape), with `weights` of the same shape where not all of them count."""
    if weights is None:
        return Mean(jnp.sum(values), jnp.asarray(values.size, values.dtype))
    return Mean(jnp.sum(values * weights), jnp.sum(weights).astype(values.dtype))
