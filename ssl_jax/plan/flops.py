"""FLOPs of a traced function: matrix products and convolutions, loops multiplied out.

The compiler's own count is of no use for a scanned model, since it counts a loop body once.
"""

from __future__ import annotations

import math
from typing import Any

from ssl_jax.plan.graph import Graph


def flops(graph: Graph) -> float:
    """FLOPs (two per multiply-and-add) over all devices.

    Scans count as often as they run, a `shard_map` body once per device, a `cond` as its most expensive branch, and a
    `while` once, since nothing says how often it runs. Kernels (Pallas) hide theirs, so that
    `estimate` counts the step without them.
    """
    total = 0.0
    for node in graph.nodes:
        inside = [flops(body) for body in node.bodies]
        total += max(inside, default=0.0) if node.name == "cond" else node.times * sum(inside)
        if node.name == "dot_general":
            total += _product(node.eqn)
        elif node.name == "conv_general_dilated":
            total += _convolution(node.eqn)
    return total


def _product(eqn: Any) -> float:
    """2 x results x contracted places. Nothing for a vector: that is a sum in another form, and sums are not counted."""
    (contract, right_contract), (batch, _) = eqn.params["dimension_numbers"]
    left, right = (v.aval.shape for v in eqn.invars)
    if min(len(left) - len(contract), len(right) - len(right_contract)) == len(batch):
        return 0.0
    return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[d] for d in contract)


def _convolution(eqn: Any) -> float:
    """2 x output channels x channels per group x batch x (output place, kernel place) pairs that meet a real input."""
    dims, p = eqn.params["dimension_numbers"], eqn.params
    left, right, out = (v.aval.shape for v in (*eqn.invars[:2], eqn.outvars[0]))
    spatial = zip(dims.lhs_spec[2:], dims.rhs_spec[2:], dims.out_spec[2:], strict=True)
    pairs = 1
    for axis, (i, k, o) in enumerate(spatial):
        stride, spread = p["window_strides"][axis], p["lhs_dilation"][axis]
        low, hole = p["padding"][axis][0], p["rhs_dilation"][axis]
        places = (x * stride + y * hole - low for x in range(out[o]) for y in range(right[k]))
        pairs *= sum(1 for at in places if at % spread == 0 and 0 <= at < (left[i] - 1) * spread + 1)
    return 2.0 * out[dims.out_spec[0]] * out[dims.out_spec[1]] * right[dims.rhs_spec[1]] * pairs
