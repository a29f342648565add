"""Relative positions as numbers added to attention logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array


class RelativeBias(nn.Module):
    """One number for each head and bucket of distances (Raffel et al. 2019, arXiv 1910.10683, section 2.1; T5's code).

    Half of the buckets are single distances, the rest grow logarithmically to `furthest`, where the last one begins.
    `both` tells what comes after a query from what came before; without it all that comes after is in the first bucket.
    """

    heads: int
    buckets: int = 32
    furthest: int = 128
    both: bool = True

    @nn.compact
    def __call__(self, queries: int, keys: int, first: Array | None = None) -> Array:
        """[1, H, queries, keys]; of fewer queries than keys the last ones, or those from the place `first` on."""
        table = self.param("table", nn.initializers.normal(1.0), (self.buckets, self.heads))
        chosen = table[self._buckets(queries, keys, first)]
        return chosen.transpose(2, 0, 1)[None]

    def _buckets(self, queries: int, keys: int, first: Array | None) -> np.ndarray | Array:
        if first is None:
            return buckets(queries, keys, self.buckets, self.furthest, self.both)
        square = jnp.asarray(buckets(keys, keys, self.buckets, self.furthest, self.both))
        return jax.lax.dynamic_slice_in_dim(square, first, queries)


def buckets(queries: int, keys: int, count: int, furthest: int, both: bool) -> np.ndarray:
    """The bucket int [queries, keys] of each key's distance from each query."""
    distance = np.arange(keys)[None] - np.arange(keys - queries, keys)[:, None]
    first = (distance > 0) * (count // 2) if both else np.zeros_like(distance)
    count, near = (count // 2, np.abs(distance)) if both else (count, np.maximum(-distance, 0))
    exact = count // 2
    far = exact + np.log(np.maximum(near, 1) / exact) / np.log(furthest / exact) * (count - exact)
    return first + np.where(near < exact, near, np.minimum(far.astype(int), count - 1))
