"""Bytes on a device, from shapes alone: the state exactly, the temporaries of a step as an estimate.

The estimate walks the step in program order and adds up what is alive. Element-wise operations are taken to be fused: their
result takes memory only where something reads it that cannot fuse it (a matrix product, a loop). Values that grow with the
batch are split over the batch axes, weights and their gradients over `fsdp`; inside a loop over layers weights are whole,
as FSDP gathers them there. Layouts, padding and what a compiler does better or worse are not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ssl_jax.devices.mesh import SMALLEST_SPLIT, Rules, leaf_spec, path_name
from ssl_jax.plan.graph import LITERAL, Graph, Node
from ssl_jax.training.step import TrainState

ALIASES = {"reshape", "squeeze", "expand_dims", "sharding_constraint", "copy", "copy_p", "name", "stop_gradient",
           "optimization_barrier", "transpose"}  # fmt: skip
# What compilers fuse into their readers. Everything else writes its result to memory.
FUSED = {"add", "sub", "mul", "div", "neg", "sign", "floor", "ceil", "round", "exp", "exp2", "log", "log1p", "expm1", "tanh",
         "logistic", "erf", "erfc", "erf_inv", "sqrt", "rsqrt", "square", "integer_pow", "pow", "max", "min", "and", "or",
         "xor", "not", "eq", "ne", "lt", "le", "gt", "ge", "select_n", "convert_element_type", "broadcast_in_dim", "iota",
         "clamp", "abs", "is_finite", "add_any", "slice", "rev", "pad", "sin", "cos", "rem", "shift_left",
         "shift_right_logical", "reduce_precision", "clz", "population_count", "nextafter", "real", "imag", "copysign",
         "bitcast_convert_type", "mul_add", "pvary", "pcast"}  # fmt: skip
# What reads through a fusion.
REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "argmax", "argmin"}


@dataclass(frozen=True)
class StateBytes:
    """Bytes of one part of the state: in all, on each device, and how many of the latter every device holds alike."""

    total: int
    per_device: int
    replicated: int


def state_bytes(state: TrainState, sizes: Mapping[str, int], rules: Rules = ()) -> dict[str, StateBytes]:
    """Parts of the state on a mesh with axes `sizes`: `params`, `opt_state`, and each entry of `extra` by name."""
    parts: dict[str, list[int]] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        name = path_name(path)
        part = name.split("/")[1] if name.startswith("extra/") else name.split("/")[0]
        split = _shards(leaf_spec(name, leaf.shape, sizes, rules), sizes)
        whole = _bytes(leaf)
        entry = parts.setdefault(part, [0, 0, 0])
        entry[0] += whole
        entry[1] += whole // split
        entry[2] += whole if split == 1 else 0
    return {k: StateBytes(*v) for k, v in parts.items()}


def batch_bytes(batch: Mapping[str, Any], sizes: Mapping[str, int]) -> int:
    """Bytes of a device's rows of a batch of records."""
    return sum(_bytes(v) for v in batch.values()) // (sizes["data"] * sizes["fsdp"])


def temporary_bytes(graph: Graph, varied: Graph, sizes: Mapping[str, int], parts: int = 1) -> int:
    """An estimate of what a step keeps at its peak beside state and batch, per device.

    `varied` is the graph of the same step at another batch size: what has another size there is split over the batch. `parts` is
    how many times fewer rows a device has than in the graph: other microbatches, or another batch size.
    """
    return _Estimate(sizes, parts).peak(graph, varied, top=True)


class _Estimate:
    def __init__(self, sizes: Mapping[str, int], parts: int) -> None:
        self.rows, self.fsdp = sizes["data"] * sizes["fsdp"] * parts, sizes["fsdp"]

    def peak(self, graph: Graph, varied: Graph, top: bool = False) -> int:
        """Most bytes alive at once. Inputs and outputs belong to the caller; those of the step are the donated state."""
        local = self._local(graph, varied, top)
        roots, written = _roots(graph)
        last: dict[int, int] = {}
        for at, node in enumerate(graph.nodes):
            if _executes(node, written):
                last.update((r, at) for v in node.inputs for r in roots.get(v, ()))
        last.update((r, len(graph.nodes)) for v in graph.outputs for r in roots.get(v, ()))
        outside = {v for v in graph.outputs if v != LITERAL} | set(graph.inputs)
        dying: dict[int, list[int]] = {}
        for value, at in last.items():
            dying.setdefault(at, []).append(value)

        alive, highest, held = 0, 0, set()
        for at, (node, other) in enumerate(zip(graph.nodes, varied.nodes, strict=True)):
            if not _executes(node, written):
                continue
            made = [o for o in node.outputs if o in written and o not in outside and o in last]
            inside = max((self._inside(b, o) for b, o in zip(node.bodies, other.bodies, strict=True)), default=0)
            freed = [v for v in dying.get(at, ()) if v in held]
            in_place = sum(local[v] for v in freed) if node.name in FUSED else 0
            new = sum(local[o] for o in made)
            highest = max(highest, alive + inside + max(new, new - in_place if node.name in FUSED else new))
            held.update(made)
            alive += new
            for v in freed:
                held.discard(v)
                alive -= local[v]
        return highest

    def _inside(self, body: Graph, varied: Graph) -> int:
        gathered = 0
        if self.fsdp > 1:  # one layer's weights, whole
            read = {v for n in body.nodes if n.name in ("dot_general", "conv_general_dilated") for v in n.inputs}
            gathered = sum(body.sizes[v] for v in body.inputs if v in read and body.sizes[v] == varied.sizes[v])
        return gathered + self.peak(body, varied)

    def _local(self, graph: Graph, varied: Graph, top: bool) -> list[int]:
        def local(size: int, other: int) -> int:
            if other != size:
                return size // self.rows
            return size // self.fsdp if top and size >= 4 * SMALLEST_SPLIT else size

        return [local(a, b) for a, b in zip(graph.sizes, varied.sizes, strict=True)]


def _executes(node: Node, written: set[int]) -> bool:
    return any(o in written for o in node.outputs)


def _roots(graph: Graph) -> tuple[dict[int, frozenset[int]], set[int]]:
    """For each value, the stored values from which its readers compute it; and which values are stored."""
    needs_memory: set[int] = set()
    for node in reversed(graph.nodes):
        if node.name in ALIASES:
            if needs_memory.intersection(node.outputs):
                needs_memory.update(node.inputs[:1])
        elif node.name not in FUSED and node.name not in REDUCTIONS:
            needs_memory.update(node.inputs)
    roots: dict[int, frozenset[int]] = {}
    written: set[int] = set()
    for node in graph.nodes:
        if node.name in ALIASES:
            for o, i in zip(node.outputs, node.inputs, strict=False):
                roots[o] = roots.get(i, frozenset())
            continue
        through = frozenset().union(*(roots.get(i, frozenset()) for i in node.inputs))
        for o in node.outputs:
            fused = node.name in FUSED and o not in needs_memory
            roots[o] = through if fused else frozenset((o,))
            written.update(() if fused else (o,))
    return roots, written


def _shards(spec: Any, sizes: Mapping[str, int]) -> int:
    return int(np.prod([sizes[axis] for axis in spec if axis], dtype=np.int64))


def _bytes(leaf: Any) -> int:
    return int(np.prod(leaf.shape, dtype=np.int64)) * leaf.dtype.itemsize
