"""Bytes that an instruction of an optimised program reads from and writes to the device's main memory.

What a fusion only slices is read in part, what it updates in place is written in part, and what lies in a memory on the chip
(`S(1)` in a TPU's layouts) moves no bytes. Caches are not known: an array that two instructions read counts twice.
"""

from __future__ import annotations

from ssl_jax.plan.hlo import Instruction, Program, Shape, shapes_of

# They name, view or wait for what others made.
FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all", "add-dependency", "iota",
        "partition-id", "replica-id", "call", "async-start", "opt-barrier", "domain"}  # fmt: skip
BOOKKEEPING = {
    "AllocateBuffer",
    "ConcatBitcast",
    "AssumeGatherIndicesInBound",
    "GatherScatterIndicesBitpacked",
    "Sharding",
}
PIECES = {"dynamic-slice", "slice", "gather"}
STARTS = {"copy-start", "slice-start"}  # what the chip copies beside other work; the type names both ends
MOVES = {"copy", "transpose", "reshape"}
IDLE = MOVES | FREE | {"dynamic-slice", "slice", "dynamic-update-slice"}


def is_free(i: Instruction) -> bool:
    """Whether nothing runs."""
    return (
        i.operation in FREE
        or i.operation.endswith(("-done", "-update"))
        or i.quoted("custom_call_target") in BOOKKEEPING
    )


def is_move(program: Program, i: Instruction) -> bool:
    """Whether it copies or transposes an array and does nothing else. A prefetch into the chip's memory is none."""
    if i.operation == "fusion":
        inside = {x.operation for x in program.computations.get(i.called("calls"), ())}
        return bool(inside & MOVES) and inside <= IDLE
    return i.operation in MOVES and all(shape.main for shape in shapes_of(i.type) if shape.sides)


def traffic(program: Program, computation: str, i: Instruction) -> int:
    """Bytes of one run of `i`."""
    if is_free(i):
        return 0
    operands = program.operand_types(computation, i)
    if i.operation == "fusion":
        return _fused(program, i.called("calls"), operands, i.type)
    if i.operation in STARTS:
        return _moved(*[shape for shape in shapes_of(i.type) if shape.sides][:2])
    if i.operation in PIECES:
        return 2 * _main(i.type)
    if i.operation == "dynamic-update-slice":
        return 2 * _main(operands[1])
    if i.operation == "scatter":
        return 3 * _main(operands[-1])
    return sum(map(_main, operands)) + _main(i.type)


def _fused(program: Program, inside: str, operands: list[str], result: str) -> int:
    read = sum(_read(program, inside, n, kind) for n, kind in enumerate(operands))
    return read + sum(_written(program, inside, n, shape) for n, shape in enumerate(shapes_of(result)))


def _read(program: Program, inside: str, number: int, kind: str) -> int:
    """Bytes that a fusion reads of one operand."""
    body = program.computations.get(inside, [])
    name = next((x.name for x in body if x.operation == "parameter" and x.rest.startswith(f"parameter({number})")), "")
    return min(_used(program, body, name, kind), _main(kind)) if name else _main(kind)


def _used(program: Program, body: list[Instruction], name: str, kind: str) -> int:
    used = 0
    for user in (x for x in body if name in x.operands):
        if user.operation == "fusion":
            used += sum(_read(program, user.called("calls"), n, kind) for n, x in enumerate(user.operands) if x == name)
        elif user.operation == "bitcast":
            used += _used(program, body, user.name, kind)
        elif user.operation in PIECES and user.operands[0] == name:
            used += _piece(user.type, kind)
        elif not (user.operation == "dynamic-update-slice" and user.operands[0] == name):
            return _main(kind)
    return used


def _written(program: Program, inside: str, number: int, shape: Shape) -> int:
    """Bytes that a fusion writes of one result: of what it updates in place, the part that changes."""
    by_name = {x.name: x for x in program.computations.get(inside, [])}
    end = next((x for x in by_name.values() if x.root), None)
    if end is not None and end.operation == "tuple":
        made = [name for name in end.operands for _ in shapes_of(program.types.get((inside, name), ""))]
        end = by_name.get(made[number])  # a result may be several arrays itself, as that of argmax
    while end is not None and end.operation == "bitcast":
        end = by_name.get(end.operands[0])
    if end is None or not shape.main:
        return _size(shape)
    if end.operation == "fusion":
        return _written(program, end.called("calls"), 0, shape)
    if end.operation == "dynamic-update-slice":
        return _piece(program.types.get((inside, end.operands[1]), ""), "")
    return shape.size


def _piece(kind: str, whole: str) -> int:
    """Bytes of a part of an array that lies in main memory, if it does: the type inside a fusion has no place of its own."""
    return sum(shape.size for shape in shapes_of(kind)) if not whole or _main(whole) else 0


def _moved(one: Shape, other: Shape) -> int:
    """Bytes of the smaller of two arrays, once for each that lies in main memory."""
    return min(one.size, other.size) * (one.main + other.main)


def _main(kind: str) -> int:
    return sum(map(_size, shapes_of(kind)))


def _size(shape: Shape) -> int:
    return shape.size if shape.main else 0
