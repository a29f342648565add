"""Collectives of a compiled program and the work that hides them.

A collective is asynchronous where the program has its start and, later in the schedule, its end: what stands between runs at
the same time. On TPUs the start is a fusion named `async-collective-start`, a chain of fusions leads to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ssl_jax.plan.collectives import FUSED, one_collective
from ssl_jax.plan.hlo import Instruction, Program, Run, bytes_of, runs

Seconds = Callable[[Run], float]
CHAIN = ("async_collective_fusion", "async-collective")
THROUGH = ("get-tuple-element", "bitcast", "async-update")


@dataclass(frozen=True)
class Exchange:
    """All runs of the collectives of one kind in a step."""

    operation: str
    count: int = 0
    asynchronous: int = 0  # of these
    covered: int = 0  # of the asynchronous, those with work between start and end
    payload: float = 0.0  # bytes of the results
    beside: float = 0.0  # seconds of that work, at full rates


def exchanges(program: Program, seconds: Seconds) -> list[Exchange]:
    """What a program exchanges between devices, by operation."""
    order, found = list(runs(program)), dict[str, Exchange]()
    wrapped = {run.instruction.called("calls") for run in order if run.instruction.operation == "async-start"}
    for at, run in enumerate(order):
        if run.computation not in wrapped and (kind := _kind(program, run.instruction)):
            operation = kind[0].removesuffix(FUSED)
            between = _between(program, order, at)
            work = None if between is None else sum(map(seconds, between))
            found[operation] = _with(found.get(operation, Exchange(operation)), run.times, bytes_of(kind[1]), work)
    return [found[name] for name in sorted(found)]


def _kind(program: Program, i: Instruction) -> tuple[str, str] | None:
    """Operation and result of a collective; of an `async-start`, those of what it starts."""
    inside = program.computations.get(i.called("calls"), []) if i.operation == "async-start" else [i]
    found = next(filter(None, (one_collective(x, program) for x in inside)), None)
    return found and found[:2]


def _between(program: Program, order: Sequence[Run], at: int) -> Sequence[Run] | None:
    """What runs between the collective at this place and its end; None where it waits."""
    start = order[at]
    body = {i.name: i for i in program.computations[start.computation]}
    for place in range(at + 1, len(order)):
        run = order[place]
        if run.computation == start.computation and _ends(run.instruction) and _leads(body, run.instruction, start):
            return order[at + 1 : place]
    return None


def _ends(i: Instruction) -> bool:
    return i.operation.endswith("-done") or i.name.startswith("async-collective-done")


def _leads(body: dict[str, Instruction], end: Instruction, start: Run) -> bool:
    """Whether an end is that of `start`, by its operands."""
    seen, left = {end.name}, list(end.operands)
    while left:
        name = left.pop()
        if name == start.instruction.name:
            return True
        made = body.get(name)
        if made and name not in seen and (made.operation in THROUGH or name.startswith(CHAIN)):
            left.extend(made.operands)
        seen.add(name)
    return False


def _with(old: Exchange, times: int, payload: int, work: float | None) -> Exchange:
    return replace(
        old,
        count=old.count + times,
        asynchronous=old.asynchronous + times * (work is not None),
        covered=old.covered + times * bool(work),
        payload=old.payload + times * payload,
        beside=old.beside + (work or 0.0),
    )
