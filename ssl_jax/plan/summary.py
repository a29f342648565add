"""A recipe in a few numbers, so that a change of code that changes them shows in review."""

from __future__ import annotations

import json
from typing import Any

from jax.sharding import Mesh

from ssl_jax.plan.collectives import collectives
from ssl_jax.plan.estimate import PLAIN, parameters, traced, with_options
from ssl_jax.plan.flops import flops
from ssl_jax.plan.memory import state_bytes
from ssl_jax.plan.problem import Problem, lowered

ONE_DEVICE = {"data": 1, "fsdp": 1, "tensor": 1}


def summary(posed: Problem) -> dict[str, int]:
    """Parameters, bytes of the whole state, and FLOPs of a training step per example."""
    state = posed.state()
    work = flops(traced(with_options(posed, attention=PLAIN), ONE_DEVICE, state))
    return {
        "parameters": sum(parameters(state.params).values()),
        "state_bytes": sum(part.total for part in state_bytes(state, ONE_DEVICE).values()),
        "flops_per_example": round(work / posed.recipe.batch_size),
    }


def step_collectives(posed: Problem, mesh: Mesh) -> dict[str, list[int]]:
    """Collectives of the compiled step on `mesh`: `{"all-reduce over 8": [count, payload bytes]}`.

    Raises ValueError where the program holds something that could not be read.
    """
    found, unread = collectives(lowered(posed, mesh).compile().as_text())
    if unread:
        raise ValueError(f"not understood in the compiled step: {', '.join(unread)}")
    return {f"{c['operation']} over {c['group']}": [c["count"], round(c["payload"])] for c in found}


def dumped(summaries: dict[str, Any]) -> str:
    """One line per recipe, so that a diff reads well."""
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(summaries.items()))
    return "{\n" + lines + "\n}\n"
