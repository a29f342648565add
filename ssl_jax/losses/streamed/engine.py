"""The total of a kernel over all rows and columns of a mesh, with its own gradient.

The backward pass sends the columns round again, followed by the gradient that they collect. (A ring that JAX differentiates
keeps every block that came by.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax import Array
from jax.sharding import PartitionSpec

from ssl_jax.losses.streamed.placement import Placement
from ssl_jax.losses.streamed.rounds import Plan, backward, forward
from ssl_jax.losses.streamed.tiles import Gradient, Parts, Side


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def total(plan: Plan, rows: Side, cols: Side) -> Array:
    """The total of `plan.kernel` over `rows` and `cols` (global arrays), a scalar.

    Differentiable in `rows.x`, `cols.x` and `cols.offset`; all else is constant. With `plan.own`, give the same `Side` twice:
    the whole gradient comes back through `rows`.
    """
    return plan.kernel.total(*ends(plan, rows, cols), rows)


def ends(plan: Plan, rows: Side, cols: Side) -> tuple[Parts, Parts]:
    """What each row and column has reached over all tiles: arrays [R] and [C], or None where the kernel keeps none."""
    specs = plan.place.rows, plan.place.cols
    return _on_mesh(plan, forward, specs, specs)(rows, cols)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def total_and_rows(plan: Plan, rows: Side, cols: Side) -> tuple[Array, Parts]:
    """`total`, and what each row has reached, which is a constant to the gradient. Of rows against other columns."""
    return _forward_and_rows(plan, rows, cols)[0]


def _forward_and_rows(plan: Plan, rows: Side, cols: Side) -> tuple[tuple[Array, Parts], Any]:
    reached, _ = ends(plan, rows, cols)
    # The slope needs the log-sum and what is expected; the rest is no number that could be padded.
    return (plan.kernel.total(reached, None, rows), reached), (rows, cols, (reached[:2], None))


def _forward(plan: Plan, rows: Side, cols: Side) -> tuple[Array, Any]:
    reached = ends(plan, rows, cols)
    return plan.kernel.total(*reached, rows), (rows, cols, reached)


def _backward(plan: Plan, residuals: Any, g: Array) -> tuple[Side, Side]:
    rows, cols, reached = residuals
    specs = plan.place.rows, plan.place.cols
    inputs = (*specs, specs, PartitionSpec())
    gradient = _on_mesh(plan, backward, inputs, Gradient._make((*specs, specs[1])))(rows, cols, reached, g)

    def cast(d: Array | None, like: Any) -> Any:
        return None if d is None else d.astype(like.dtype)  # None stands for zeros

    to_cols = Side(cast(gradient.cols, cols.x), cast(gradient.offset, cols.offset))
    return Side(cast(gradient.rows, rows.x)), to_cols


total.defvjp(_forward, _backward)
total_and_rows.defvjp(_forward_and_rows, lambda plan, residuals, g: _backward(plan, residuals, g[0]))


def _on_mesh(plan: Plan, share: Callable, inputs: Any, outputs: Any) -> Callable:
    share = partial(share, plan)
    if plan.place == Placement():
        return share
    # check_vma=False: what every device returns along `copy` is the same, but the types do not show it.
    return jax.shard_map(share, in_specs=inputs, out_specs=outputs, check_vma=False)
