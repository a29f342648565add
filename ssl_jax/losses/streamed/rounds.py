"""One device's share of a streamed total and of its gradient: its rows meet all blocks of columns, one group at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ssl_jax.devices.compiler import target_platform
from ssl_jax.devices.precision import wide
from ssl_jax.losses.prototypes import EXCLUDED
from ssl_jax.losses.streamed.kernels import CrossEntropy, Distinct, Sigmoid, Softmax
from ssl_jax.losses.streamed.placement import Placement
from ssl_jax.losses.streamed.tiles import Gradient, Parts, Side, fold, pull, tile_size, tiled, untiled

# The largest number of rows, and of columns, of a tile, by backend. A CPU's cache holds 256 x 256; elsewhere each tile is a few
# launches, and 2048 x 2048 (16 MB) makes them few (not measured).
TILE = {"cpu": 256}


@dataclass(frozen=True)
class Plan:
    """All that is static: the kernel, the placement, and whether rows and columns are the same.

    With `own`, each row meets every row but itself. A pair of tiles is computed once for both of its orders, and a ring goes
    half way round: `kernel` is then `Softmax(rows=True, cols=True)`.
    """

    kernel: Softmax | Sigmoid | Distinct | CrossEntropy
    place: Placement
    own: bool = False

    def hops(self) -> tuple[int, bool]:
        """How often columns move on; and whether once more, to where two devices would see the same pair of blocks."""
        n = self.place.ring_size()
        return ((n - 1) // 2, n % 2 == 0) if self.own else (n - 1, False)


def forward(plan: Plan, rows: Side, cols: Side) -> tuple[Parts, Parts]:
    """What each of this device's rows and columns has reached after meeting all columns and rows of the mesh."""
    kernel, place = plan.kernel, plan.place
    mine, block = _tiles(rows, cols)
    row = _empty(kernel, mine)[0]

    def meet(group: Side, row: Parts, kernel: Any = kernel) -> tuple[Parts, Parts]:
        row, col = fold(kernel, mine, group, (row, _empty(kernel, group)[1]))
        return row, place.logscattered(col)

    def hop(carry: Any, _: None) -> tuple[Any, None]:
        block, col, row = carry
        block, col = place.rotated((block, col))
        row, more = meet(place.gathered(block), row)
        return (block, kernel.merge(col, more), row), None

    rows_only = Softmax(rows=True, cols=False) if plan.own else kernel
    if plan.own:
        row, col = kernel.merge(*fold(kernel, mine, mine, _empty(kernel, mine), own=True)), _empty(kernel, block)[1]
        if place.gather:
            row, _ = meet(place.without_own(place.gathered(block), len(block.x)), row, rows_only)
    else:
        row, col = meet(place.gathered(block), row)
    hops, shared = plan.hops()
    if hops:
        (block, col, row), _ = jax.lax.scan(hop, (block, col, row), length=hops)
    if shared:
        row, _ = meet(place.gathered(place.rotated(block)), row, rows_only)
    row, col = place.merged(kernel.merge, row), place.logsummed(place.rotated(col, -hops))
    if plan.own:
        row, col = kernel.merge(row, col), None
    return untiled(row, len(rows.x)), untiled(col, len(cols.x))


def backward(plan: Plan, rows: Side, cols: Side, reached: tuple[Parts, Parts], g: jax.Array) -> Gradient:
    """`g` times the gradient of the total with respect to this device's rows and columns; under `own`, all of it for the rows."""
    kernel, place = plan.kernel, plan.place
    mine, block = _tiles(rows, cols)
    # Where the end is padding, exp(s - end) is 0.
    row_end = tiled(reached[0], mine.x.shape[1], fill=-EXCLUDED)
    end = row_end if plan.own else tiled(reached[1], block.x.shape[1], fill=-EXCLUDED)

    def to_rows_only(group: Side, end: Parts, to_rows: jax.Array, own: bool = False) -> jax.Array:
        return pull(kernel, mine, group, (row_end, end), g, Gradient(to_rows, None, None), own).rows

    def meet(block: Side, end: Parts, to_rows: jax.Array) -> Gradient:
        group, end = place.gathered((block, end))
        start = Gradient(to_rows, _zeros(group.x), None if cols.offset is None else _zeros(group.offset))
        to_rows, *to_cols = pull(kernel, mine, group, (row_end, end), g, start)
        return Gradient(to_rows, *place.scattered(to_cols))

    def hop(carry: Any, _: None) -> tuple[Any, None]:
        block, end, (to_rows, *to_cols) = carry
        block, end, to_cols = place.rotated((block, end, to_cols))
        to_rows, *more = meet(block, end, to_rows)
        return (block, end, Gradient(to_rows, *jax.tree.map(jnp.add, to_cols, more))), None

    home: list[Any] = []
    if plan.own:
        to_rows = to_rows_only(mine, row_end, _zeros(mine.x), own=True)
        if place.gather:
            group, group_end = place.gathered((block, end))
            to_rows = to_rows_only(place.without_own(group, len(block.x)), group_end, to_rows)
    else:
        to_rows, *home = meet(block, end, _zeros(mine.x))
    hops, shared = plan.hops()
    if hops:  # the first is apart: no gradient has been collected yet that would have to travel
        block, end = place.rotated((block, end))
        carry = block, end, meet(block, end, to_rows)
        (block, end, (to_rows, *to_cols)), _ = jax.lax.scan(hop, carry, length=hops - 1)
        to_cols = place.rotated(to_cols, -hops)
        home = jax.tree.map(jnp.add, home, to_cols) if home else to_cols
    if shared:
        group, group_end = place.gathered(place.rotated((block, end)))
        to_rows = to_rows_only(group, group_end, to_rows)
    if plan.own:
        return Gradient(untiled(to_rows + home[0] if home else to_rows, len(rows.x)), None, None)
    return Gradient(untiled(place.added(to_rows), len(rows.x)), *untiled(place.summed(home), len(cols.x)))


def _tiles(rows: Side, cols: Side) -> tuple[Side, Side]:
    largest = TILE.get(target_platform(), 2048)
    return tuple(tiled(side, tile_size(len(side.x), largest)) for side in (rows, cols))


def _empty(kernel: Any, side: Side) -> tuple[Parts, Parts]:
    return kernel.empty(side.x.shape[:2], wide(side.x.dtype))


def _zeros(like: jax.Array) -> jax.Array:
    return jnp.zeros(like.shape, wide(like.dtype))
