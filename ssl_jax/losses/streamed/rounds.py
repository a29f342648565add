"""One device's share of a streamed total and of its gradient: its rows meet all blocks of columns, one group at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ssl_jax.losses.prototypes import EXCLUDED
from ssl_jax.losses.streamed.kernels import CrossEntropy, Sigmoid, Softmax
from ssl_jax.losses.streamed.placement import Placement
from ssl_jax.losses.streamed.tiles import Gradient, Parts, Side, fold, pull, tile_size, tiled, untiled
from ssl_jax.precision import wide


@dataclass(frozen=True)
class Plan:
    """All that is static: the kernel, the placement, whether rows and columns are the same, and the largest tile.

    With `own`, each row meets every row but itself. A pair of tiles is computed once for both of its orders, and a ring goes
    half way round: `kernel` is then `Softmax(rows=True, cols=True)`.
    """

    kernel: Softmax | Sigmoid | CrossEntropy
    place: Placement = Placement()
    own: bool = False
    tile: int = 512

    def hops(self) -> tuple[int, bool]:
        """How often columns move on; and whether once more, to where two devices would see the same pair of blocks."""
        n = self.place.ring_size()
        return ((n - 1) // 2, n % 2 == 0) if self.own else (n - 1, False)


def forward(plan: Plan, rows: Side, cols: Side) -> tuple[Parts, Parts]:
    """What each of this device's rows and columns has reached after meeting all columns and rows of the mesh."""
    kernel, place = plan.kernel, plan.place
    mine, block = _tiles(plan, rows, cols)
    group = place.gathered(block)
    row, col = _empty(kernel, mine)[0], _empty(kernel, group)[1]
    rows_only = partial(fold, replace(kernel, cols=False) if plan.own else kernel, mine)
    if plan.own:
        row = kernel.merge(*fold(kernel, mine, mine, _empty(kernel, mine), own=True))
        if place.gather:
            row, _ = rows_only(place.without_own(group, len(block.x)), (row, None))
    else:
        row, col = fold(kernel, mine, group, (row, col))

    def hop(carry: Any, _: None) -> tuple[Any, None]:
        group, col, row = carry
        group, col = place.rotated((group, col))
        row, col = fold(kernel, mine, group, (row, col))
        return (group, col, row), None

    hops, shared = plan.hops()
    if hops:
        (group, col, row), _ = jax.lax.scan(hop, (group, col, row), length=hops)
    if shared:
        row, _ = rows_only(place.rotated(group), (row, None))
    col = place.logsummed(place.rotated(col, -hops))
    if plan.own:
        row, col = kernel.merge(row, col), None
    return untiled(row, len(rows.x)), untiled(col, len(cols.x))


def backward(plan: Plan, rows: Side, cols: Side, reached: tuple[Parts, Parts]) -> Gradient:
    """The gradient of the total with respect to this device's rows and columns; under `own`, all of it for the rows."""
    kernel, place = plan.kernel, plan.place
    mine, block = _tiles(plan, rows, cols)
    # Where the end is padding, exp(s - end) is 0.
    row_end = tiled(reached[0], mine.x.shape[1], fill=-EXCLUDED)
    col_end = row_end if plan.own else tiled(reached[1], block.x.shape[1], fill=-EXCLUDED)
    group, end = place.gathered((block, col_end))
    none = Gradient(_zeros(mine.x), _zeros(group.x), None if cols.offset is None else _zeros(group.offset))
    if plan.own:
        both = pull(kernel, mine, mine, (row_end, row_end), Gradient(none.rows, none.rows, None), own=True)
        to_rows, home = both.rows + both.cols, none
        if place.gather:
            others = place.without_own(group, len(block.x))
            to_rows = pull(kernel, mine, others, (row_end, end), Gradient(to_rows, None, None)).rows
    else:
        home = pull(kernel, mine, group, (row_end, end), none)
        to_rows = home.rows

    def meet(group: Side, end: Parts, gradient: Gradient) -> Gradient:
        return pull(kernel, mine, group, (row_end, end), gradient)

    def hop(carry: Any, _: None) -> tuple[Any, None]:
        group, end, (to_rows, *to_cols) = carry
        group, end, to_cols = place.rotated((group, end, to_cols))
        return (group, end, meet(group, end, Gradient(to_rows, *to_cols))), None

    hops, shared = plan.hops()
    if hops:  # the first is apart: there is no gradient of the columns yet that would have to travel
        group, end = place.rotated((group, end))
        carry = group, end, meet(group, end, none._replace(rows=to_rows))
        (group, end, travelled), _ = jax.lax.scan(hop, carry, length=hops - 1)
        to_rows, *to_cols = travelled
        home = jax.tree.map(jnp.add, Gradient(None, *home[1:]), Gradient(None, *place.rotated(to_cols, -hops)))
    if shared:
        group, end = place.rotated((group, end))
        to_rows = meet(group, end, Gradient(to_rows, None, None)).rows
    to_rows, (to_cols, offset) = untiled(to_rows, len(rows.x)), untiled(place.summed(home[1:]), len(cols.x))
    return Gradient(to_rows + to_cols, None, None) if plan.own else Gradient(to_rows, to_cols, offset)


def _tiles(plan: Plan, rows: Side, cols: Side) -> tuple[Side, Side]:
    return tuple(tiled(side, tile_size(len(side.x), plan.tile)) for side in (rows, cols))


def _empty(kernel: Any, side: Side) -> tuple[Parts, Parts]:
    return kernel.empty(side.x.shape[:2], wide(side.x.dtype))


def _zeros(like: jax.Array) -> jax.Array:
    return jnp.zeros(like.shape, wide(like.dtype))
