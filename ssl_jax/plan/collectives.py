"""Collectives in a compiled program: how often each runs, and how many bytes it puts on the wire.

Reads optimised HLO text, which is no stable interface: what cannot be read is listed, never guessed. Loops are multiplied
out; where one branch of a conditional communicates, it counts as the one that runs. Conventions of the TPU compiler: an
asynchronous collective is a chain of fusions that each hold a copy of it, of which only the start counts; a reduce-scatter
is a fusion named `all-reduce-scatter` around an all-reduce.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ssl_jax.plan.hlo import Instruction, Program, branches, bytes_of, program_of, shapes_of, trips

OPERATIONS = ("all-gather", "all-reduce", "reduce-scatter", "collective-permute", "all-to-all")
FUSED = " (fused)"
Found = tuple[str, str, str]  # a collective: operation, type of the full result, where the groups stand


@dataclass
class Collective:
    """All runs in one step of one kind of collective over groups of one size. Bytes are per device."""

    operation: str
    group: int
    count: int = 0
    payload: float = 0.0  # sizes of the full results
    wire: float = 0.0


def collectives(text: str) -> tuple[list[dict], list[str]]:
    """Collectives of optimised HLO as plain dicts (see `Collective`), and what could not be read."""
    program, unread = program_of(text), list[str]()
    found: dict[tuple[str, int], Collective] = {}
    for name, (operation, result, source), times in _walk(program, program.entry, 1, unread):
        group = 2 if operation == "collective-permute" else _group(source)
        if group is None:
            unread.append(f"{name}: groups")
            continue
        if group == 1:
            continue
        payload = bytes_of(result) * (group if operation == "reduce-scatter" else 1)
        operation = operation.removesuffix(FUSED)
        entry = found.setdefault((operation, group), Collective(operation, group))
        entry.count += times
        entry.payload += times * payload
        entry.wire += times * payload * wire_factor(operation, group)
    return [asdict(found[k]) for k in sorted(found)], unread


def wire_factor(operation: str, group: int) -> float:
    """Bytes that each device sends per byte of full payload, in a ring of `group` devices."""
    return {"all-reduce": 2 * (group - 1) / group, "collective-permute": 1.0}.get(operation, (group - 1) / group)


def counts(found: Iterable[Mapping]) -> dict[str, int]:
    """How many times each operation runs, over all group sizes."""
    total: dict[str, int] = {}
    for c in found:
        total[c["operation"]] = total.get(c["operation"], 0) + c["count"]
    return total


def wire_bytes(text: str) -> dict[str, float]:
    """Bytes that each device sends in one run of a program, by kind of collective. ValueError for what cannot be read."""
    found, unread = collectives(text)
    if unread:
        raise ValueError(f"not understood in the program: {', '.join(unread)}")
    sent: dict[str, float] = {}
    for c in found:
        sent[c["operation"]] = sent.get(c["operation"], 0.0) + c["wire"]
    return sent


def shapes(text: str) -> set[tuple[int, ...]]:
    """The shape of every array in a program."""
    return {shape.sides for shape in shapes_of(text)}


def _walk(program: Program, name: str, times: int, unread: list[str]) -> Iterable[tuple[str, Found, int]]:
    """Every instruction that is (or, as a TPU fusion, stands for) a collective: its name, what it is, how often it runs."""
    for i in program.computations.get(name, ()):
        if i.operation == "while":
            condition, body = i.called("condition"), i.called("body")
            often = trips(i, program.computations.get(condition, ()))
            if often is None and _communicates(program, (condition, body)):
                unread.append(f"{i.name}: trip count")
            yield from _walk(program, condition, times * ((often or 0) + 1), unread)
            yield from _walk(program, body, times * (often or 1), unread)
        elif i.operation == "conditional":
            talking = [b for b in branches(i) if _communicates(program, (b,))]
            unread.extend([f"{i.name}: branches"] if len(talking) > 1 else [])
            for branch in talking[:1]:
                yield from _walk(program, branch, times, unread)
        elif (found := one_collective(i, program)) is not None:
            yield i.name, found, times
        elif i.operation in ("call", "async-start"):
            yield from _walk(program, i.called("calls") or i.called("to_apply"), times, unread)


def _communicates(program: Program, names: Iterable[str]) -> bool:
    return any(True for n in names for _ in _walk(program, n, 1, []))


def one_collective(i: Instruction, program: Program) -> Found | None:
    """What the instruction is, if it is a collective."""
    base = i.operation.removesuffix("-start")
    if base in OPERATIONS:
        # The type of a start is (operands, results, ...), but that of all-reduce-start is the result's alone.
        started = base != i.operation and base != "all-reduce"
        return base, _second(i.type) if started else i.type, i.rest
    if i.operation != "fusion":
        return None
    called = i.called("calls")
    for inside in program.computations.get(called, ()):
        if called.startswith("all-reduce-scatter") and inside.operation == "all-reduce":
            # Its result is the full array, of which each device keeps a part.
            return "reduce-scatter" + FUSED, inside.type, inside.rest
        if i.name.startswith("async-collective-start") and inside.operation in OPERATIONS:
            return inside.operation, inside.type, inside.rest
    return None


def _second(kind: str) -> str:
    """The second element of a tuple type."""
    depth, commas = 0, [0]
    for at, letter in enumerate(kind):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 1:
            commas.append(at)
    commas.append(len(kind))
    return kind[commas[1] : commas[2]] if len(commas) > 2 else kind


def _group(rest: str) -> int | None:
    """Devices per group, from the four ways in which groups are written."""
    named = re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", rest)
    if named:
        sizes = dict(part.split("=") for part in named[1].replace("'", "").replace(" ", "").split(","))
        return math.prod(int(sizes[axis]) for axis in named[2].replace("'", "").replace(" ", "").split(",") if axis)
    tiled = re.search(r"replica_groups=\[(\d+),(\d+)\]", rest)
    if tiled:
        return int(tiled[2])
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", rest)
    return listed[1].count(",") + 1 if listed else None
