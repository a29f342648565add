"""A jaxpr as a plain graph without dead code: what `flops` and `memory` walk over.

Calls are inlined, loops and branches keep a body. Values are numbered; inlining follows the program, so two traces of one
function at different batch sizes number their values alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.extend import core

CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2", "custom_jvp_call", "custom_vjp_call",
         "custom_vjp_call_jaxpr"}  # fmt: skip
LOOPS = {"scan", "while", "cond", "shard_map"}
LITERAL = -1


@dataclass
class Graph:
    """`sizes[v]` is the size of value v in bytes, 0 in the host's memory.

    `inputs` and `outputs` are values (LITERAL for constants in the text).
    """

    nodes: list[Node] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


@dataclass
class Node:
    """One operation. `bodies` are the graphs inside it, of which each runs `times` times over all devices."""

    name: str
    eqn: Any
    inputs: list[int]
    outputs: list[int]
    bodies: list[Graph] = field(default_factory=list)
    times: int = 1


def graph_of(closed: core.ClosedJaxpr) -> Graph:
    """The graph of a traced function, without what its outputs do not depend on."""
    graph = _built(closed.jaxpr)
    _prune(graph, set(graph.outputs))
    return graph


def same_program(one: Graph, other: Graph) -> bool:
    """Whether two graphs are of the same operations on the same values, which may differ in size."""
    if len(one.sizes) != len(other.sizes) or len(one.nodes) != len(other.nodes):
        return False
    pairs = zip(one.nodes, other.nodes, strict=True)
    return all(a.name == b.name and a.outputs == b.outputs and _same_bodies(a, b) for a, b in pairs)


def _same_bodies(one: Node, other: Node) -> bool:
    if len(one.bodies) != len(other.bodies):
        return False
    return all(same_program(a, b) for a, b in zip(one.bodies, other.bodies, strict=True))


def _built(jaxpr: core.Jaxpr) -> Graph:
    graph = Graph()
    env: dict[Any, int] = {}
    graph.inputs = [_define(graph, env, v) for v in (*jaxpr.constvars, *jaxpr.invars)]
    _inline(graph, jaxpr, env)
    graph.outputs = [_read(env, v) for v in jaxpr.outvars]
    # Constants come first among the inputs; callers pass the others.
    graph.inputs = graph.inputs[len(jaxpr.constvars) :]
    return graph


def _inline(graph: Graph, jaxpr: core.Jaxpr, env: dict[Any, int]) -> None:
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        inputs = [_read(env, v) for v in eqn.invars]
        if name in CALLS:
            sub = _called(eqn)
            inner = dict(zip(sub.invars, inputs, strict=True)) | {v: _define(graph, {}, v) for v in sub.constvars}
            _inline(graph, sub, inner)
            env.update((v, _read(inner, o)) for v, o in zip(eqn.outvars, sub.outvars, strict=True))
            continue
        outputs = [_define(graph, env, v) for v in eqn.outvars]
        bodies = [_built(getattr(j, "jaxpr", j)) for j in _inner(eqn)] if name in LOOPS else []
        graph.nodes.append(Node(name, eqn, inputs, outputs, bodies, _times(eqn)))


def _called(eqn: Any) -> core.Jaxpr:
    sub = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr", eqn.params.get("fun_jaxpr")))
    return getattr(sub, "jaxpr", sub)


def _inner(eqn: Any) -> list[Any]:
    values = [i for v in eqn.params.values() for i in (v if isinstance(v, (tuple, list)) else (v,))]
    return [i for i in values if isinstance(i, (core.ClosedJaxpr, core.Jaxpr))]


def _times(eqn: Any) -> int:
    if eqn.primitive.name == "scan":
        return eqn.params["length"]
    return eqn.params["mesh"].size if eqn.primitive.name == "shard_map" else 1


def _define(graph: Graph, env: dict[Any, int], variable: Any) -> int:
    graph.sizes.append(_bytes(variable.aval))
    env[variable] = len(graph.sizes) - 1
    return env[variable]


def _read(env: dict[Any, int], variable: Any) -> int:
    return LITERAL if isinstance(variable, core.Literal) else env[variable]


def _bytes(aval: Any) -> int:
    if getattr(aval, "memory_space", None) == jax.memory.Space.Host:
        return 0
    shape, dtype = getattr(aval, "shape", ()), getattr(aval, "dtype", None)
    width = getattr(dtype, "itemsize", 0) if dtype is not None else 0  # of a typed key: those of its words
    return int(np.prod(shape, dtype=np.int64)) * width


def _prune(graph: Graph, wanted: set[int]) -> set[int]:
    """Drop the nodes that `wanted` does not depend on; returns every value that is needed."""
    needed, kept = set(wanted), []
    for node in reversed(graph.nodes):
        if not needed.intersection(node.outputs):
            continue
        mask = [o in needed for o in node.outputs]
        if node.name == "scan":
            used = _prune_scan(node, mask)
        else:
            for body in node.bodies:
                pick = (
                    zip(body.outputs, mask, strict=True) if node.name == "shard_map" else ((o, 1) for o in body.outputs)
                )
                _prune(body, {o for o, wants in pick if wants})
            used = node.inputs
        for output, wants in zip(node.outputs, mask, strict=True):
            graph.sizes[output] = graph.sizes[output] if wants else 0
        needed.update(used)
        kept.append(node)
    graph.nodes = kept[::-1]
    return needed


def _prune_scan(node: Node, mask: list[bool]) -> list[int]:
    """Extends `mask` (in place) by the carries that the wanted outputs need; returns the inputs that are used."""
    body = node.bodies[0]
    constants, carries = _constants_and_carries(node.eqn)
    while True:
        used = _needs(body, {o for o, wants in zip(body.outputs, mask, strict=True) if wants})
        more = [c for c in range(carries) if not mask[c] and body.inputs[constants + c] in used]
        if not more:
            break
        for c in more:
            mask[c] = True
    _prune(body, {o for o, wants in zip(body.outputs, mask, strict=True) if wants})
    return [outer for outer, inner in zip(node.inputs, body.inputs, strict=True) if inner in used]


def _constants_and_carries(scan: Any) -> tuple[int, int]:
    """How many inputs every iteration gets as they are, and how many it passes on; both come before what is sliced.

    Told by ranks, since the parameters that say so are not the same in every jax.
    """
    body = scan.params["jaxpr"].jaxpr
    carries = sum(outer.aval.ndim == inner.aval.ndim for outer, inner in zip(scan.outvars, body.outvars, strict=True))
    sliced = sum(outer.aval.ndim > inner.aval.ndim for outer, inner in zip(scan.invars, body.invars, strict=True))
    return len(scan.invars) - carries - sliced, carries


def _needs(graph: Graph, wanted: set[int]) -> set[int]:
    needed = set(wanted)
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
    return needed
