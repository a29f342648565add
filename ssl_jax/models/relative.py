"""Relative positions as numbers added to attention logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.models.grid import Grid, places


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


class GridBias(nn.Module):
    """One number for each head and offset of two places on a grid (Bao et al. 2021, arXiv 2106.08254, BEiT's code).

    `prefix` tokens before the places have three numbers: from one of them to a place, from a place to one, and among them.
    The table holds the offsets on `grid`; a smaller grid reads those that it has.
    """

    heads: int
    grid: Grid
    prefix: int = 0

    @nn.compact
    def __call__(self, grid: Grid) -> Array:
        """[1, H, P + N, P + N] for the places of `grid`, queries before keys."""
        rows = int(np.prod([2 * n - 1 for n in self.grid])) + (3 if self.prefix else 0)
        table = self.param("table", nn.initializers.zeros_init(), (rows, self.heads))
        return table[offsets(self.grid, grid, self.prefix)].transpose(2, 0, 1)[None]


def offsets(table: Grid, grid: Grid, prefix: int = 0) -> np.ndarray:
    """The row int [P + N, P + N] of the offset of each key from each query, in a table of those on the grid `table`."""
    sides = tuple(2 * n - 1 for n in table)
    apart = places(grid)[:, None] - places(grid)[None] + np.asarray(table) - 1
    index = np.pad(np.ravel_multi_index(tuple(np.moveaxis(apart, -1, 0)), sides), ((prefix, 0), (prefix, 0)))
    first = int(np.prod(sides))
    index[:prefix, prefix:], index[prefix:, :prefix], index[:prefix, :prefix] = first, first + 1, first + 2
    return index
