"""Loops over tiles of a matrix of logits that is never stored whole, on one device.

`fold` reduces every tile to numbers per row and per column; `pull` computes the tiles again and takes the gradient.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.prototypes import EXCLUDED

Parts = Any  # per row or per column: an array [n], a tuple of them, or None where nothing is kept


class Side(NamedTuple):
    """The rows, or the columns, of a matrix of logits `rows.x @ cols.x.T + rows.offset[:, None] + cols.offset`."""

    x: Array  # [n, D]
    offset: Array | None = None  # [n]; EXCLUDED takes a row or column out
    target: Any = None  # [n] int labels, or a Side: what makes the targets of a cross-entropy
    weight: Array | None = None  # [n]; rows only

    def padded(self, extra: int) -> Side:
        """`extra` entries more that change nothing."""
        if not extra:
            return self
        offset = jnp.zeros(self.x.shape[:1], wide(self.x.dtype)) if self.offset is None else self.offset
        target = self.target.padded(extra) if isinstance(self.target, Side) else _pad(self.target, extra, -1)
        return Side(_pad(self.x, extra, 0), _pad(offset, extra, EXCLUDED), target, _pad(self.weight, extra, 0))


class Kernel(Protocol):
    """What is computed of a tile of logits `s` [r, c]; hashable. See `kernels`."""

    def parts(self, s: Array, rows: Side, cols: Side) -> tuple[Parts, Parts]:
        """What this tile adds to each row and to each column."""
        ...

    def merge(self, a: Parts, b: Parts) -> Parts:
        """The parts of two tiles together."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> tuple[Parts, Parts]:
        """The parts of no tile at all, for rows and for columns of this shape."""
        ...

    def slope(self, s: Array, rows: Side, cols: Side, row_end: Parts, col_end: Parts) -> Array:
        """The derivative of the total with respect to `s`, given the parts of all tiles together."""
        ...


def logits(rows: Side, cols: Side) -> Array:
    """One tile [r, c], accumulated in float32 or wider."""
    s = jnp.einsum("rd,cd->rc", rows.x, cols.x, preferred_element_type=wide(rows.x.dtype))
    s = s if rows.offset is None else s + rows.offset[:, None]
    return s if cols.offset is None else s + cols.offset


def tile_size(n: int, largest: int) -> int:
    """Entries per tile: n cut into equal tiles of at most `largest`, rounded up to a multiple of 8 if there are several."""
    count = -(-n // largest)
    size = -(-n // count)
    return size if count == 1 else min(-(-size // 8) * 8, largest)


def tiled(tree: Any, size: int, fill: float = 0) -> Any:
    """Arrays [n, ...] (or a `Side`) -> [tiles, size, ...], padded."""
    if isinstance(tree, Side):
        tree = tree.padded(-len(tree.x) % size)
    tree = jax.tree.map(lambda a: _pad(a, -len(a) % size, fill), tree)
    return jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), tree)


def untiled(tree: Any, n: int) -> Any:
    """The opposite of `tiled`: [tiles, size, ...] -> [n, ...]."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], tree)


def fold(kernel: Kernel, rows: Side, cols: Side, state: tuple[Parts, Parts], own: bool = False) -> tuple[Parts, Parts]:
    """`state` with the parts of every tile of tiled `rows` x `cols` merged in.

    With `own`, rows and columns are the same embeddings, and none is its own candidate: only tiles on and above the
    diagonal are computed, and what each means for its mirror image is found in the column parts.
    """

    def visit(state: tuple[Parts, Parts], at: Array) -> tuple[tuple[Parts, Parts], None]:
        r, c, s, mirrored = _tile(rows, cols, at, own)
        row, col = kernel.parts(s, r, c)
        if own:
            _, nothing = kernel.empty(s.shape[1:], s.dtype)
            col = jax.tree.map(partial(jnp.where, mirrored), col, nothing)
        return (_merged(kernel, state[0], at[0], row), _merged(kernel, state[1], at[1], col)), None

    return jax.lax.scan(visit, state, _order(rows, cols, own))[0]


def pull(
    kernel: Kernel, rows: Side, cols: Side, ends: tuple[Parts, Parts], g: Array, gradient: Gradient, own: bool = False
) -> Gradient:
    """`gradient` with `g` times that of every tile added. What is None in it is not computed; `own`: it is all in `rows`.

    `g` goes into each tile: to scale afterwards would take a second copy of the gradient.
    """

    def visit(gradient: Gradient, at: Array) -> tuple[Gradient, None]:
        i, j = at
        r, c, s, mirrored = _tile(rows, cols, at, own)
        slope = g * kernel.slope(s, r, c, _take(ends[0], i), _take(ends[1], j))
        to_rows, to_cols, to_offset = gradient
        to_rows = to_rows.at[i].add(_product(slope, c.x))
        if own:
            to_rows = to_rows.at[j].add(jnp.where(mirrored, _product(slope.T, r.x), 0))
        if to_cols is not None:
            to_cols = to_cols.at[j].add(_product(slope.T, r.x))
        if to_offset is not None:
            to_offset = to_offset.at[j].add(slope.sum(axis=0))
        return Gradient(to_rows, to_cols, to_offset), None

    return jax.lax.scan(visit, gradient, _order(rows, cols, own))[0]


def _product(slope: Array, x: Array) -> Array:
    """`slope` [r, c] times embeddings [c, d], in the arithmetic of these, accumulated in float32 or wider.

    Slopes are float32. Multiplied as such, half precision would be promoted, and the gradient of a vocabulary be the only
    product of a step in float32.
    """
    return jnp.einsum("rc,cd->rd", slope.astype(x.dtype), x, preferred_element_type=wide(x.dtype))


class Gradient(NamedTuple):
    """Of the total, with respect to `rows.x`, `cols.x` and `cols.offset`; None where it is not asked for."""

    rows: Array
    cols: Array | None
    offset: Array | None


def _tile(rows: Side, cols: Side, at: Array, own: bool) -> tuple[Side, Side, Array, Array]:
    i, j = at
    r, c = _take(rows, i), _take(cols, j)
    s = logits(r, c)
    if own:
        s = jnp.where((i == j) & jnp.eye(s.shape[0], s.shape[1], dtype=bool), EXCLUDED, s)
    return r, c, s, i != j


def _order(rows: Side, cols: Side, own: bool) -> Array:
    # Column tiles outside: what is accumulated for them stays in the cache while the rows pass.
    pairs = [(i, j) for j in range(len(cols.x)) for i in range(len(rows.x)) if not own or i <= j]
    return jnp.asarray(np.array(pairs, np.int32))


def _take(tree: Any, i: Array) -> Any:
    return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, i, keepdims=False), tree)


def _merged(kernel: Kernel, all_tiles: Parts, i: Array, more: Parts) -> Parts:
    merged = kernel.merge(_take(all_tiles, i), more)
    return jax.tree.map(lambda a, m: a.at[i].set(m), all_tiles, merged)


def _pad(tree: Any, extra: int, fill: float) -> Any:
    if not extra:
        return tree
    return jax.tree.map(lambda a: jnp.pad(a, ((0, extra), *[(0, 0)] * (a.ndim - 1)), constant_values=fill), tree)
