"""The text of an optimised program as computations and instructions, and what each says of itself.

Optimised HLO is no stable interface: what is not understood here is left for the caller to tell, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

WIDTH = {"pred": 1, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4,
         "u32": 4, "f64": 8, "s64": 8, "u64": 8, "c64": 8, "c128": 16}  # fmt: skip
_SHAPE = re.compile(rf"\b({'|'.join(WIDTH)})\[([\d,]*)\](\{{[^}}]*\}})?")
_NAME = re.compile(r"%([\w.\-]+)")


class Shape(NamedTuple):
    """An array of a type: its kind of number, its sides, and whether it lies in the device's main memory."""

    dtype: str
    sides: tuple[int, ...]
    main: bool = True

    @property
    def size(self) -> int:
        """Bytes."""
        return WIDTH[self.dtype] * math.prod(self.sides)


class Instruction(NamedTuple):
    """One line of HLO: `name = type operation(arguments), attributes`."""

    name: str
    type: str
    operation: str
    rest: str
    root: bool = False

    @property
    def operands(self) -> list[str]:
        """Names of the instructions that it takes."""
        return _NAME.findall(self.rest[: closing(self.rest, len(self.operation))])

    @property
    def op_name(self) -> str:
        """Scopes and primitive of jax, `jit(step)/jvp(loss)/ViT/dot_general`; "" where the compiler lost them."""
        return self.quoted("op_name")

    def called(self, attribute: str) -> str:
        """The computation that an attribute names; "" where it has no such attribute."""
        match = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return match[1] if match else ""

    def quoted(self, attribute: str) -> str:
        """The text of an attribute in quotation marks; "" where it has no such attribute."""
        match = re.search(rf'\b{attribute}="([^"]*)"', self.rest)
        return match[1] if match else ""

    def places(self, attribute: str) -> tuple[int, ...]:
        """The numbers of an attribute: `lhs_contracting_dims={1,2}`, or quoted one by one in a backend's configuration."""
        match = re.search(rf'\b{attribute}"?[=:][{{\[]([\d,"]*)[}}\]]', self.rest)
        return tuple(map(int, re.findall(r"\d+", match[1]))) if match else ()


@dataclass
class Program:
    """Computations of a module by name, which is the entry, and the tables that say where a line of ours is."""

    entry: str = ""
    computations: dict[str, list[Instruction]] = field(default_factory=dict)
    tables: dict[str, dict[int, str]] = field(default_factory=dict)

    @cached_property
    def types(self) -> dict[tuple[str, str], str]:
        """The type of every instruction, by computation and name."""
        return {(c, i.name): i.type for c, body in self.computations.items() for i in body}

    def operand_types(self, computation: str, i: Instruction) -> list[str]:
        """The types of what an instruction of `computation` takes."""
        return [self.types.get((computation, name), "") for name in i.operands]

    def line(self, i: Instruction, package: str = "ssl_jax") -> str:
        """`ssl_jax/models/rows.py:41`: the innermost line of the package that made `i`; "" where none is known."""
        match = re.search(r"\bstack_frame_id=(\d+)", i.rest)
        frame = int(match[1]) if match else 0
        while frame > 0:
            file, line, parent = self._frame(frame)
            if f"/{package}/" in file:
                return f"{package}/{file.rpartition(f'/{package}/')[2]}:{line}"
            frame = min(parent, frame - 1)
        return ""

    def _frame(self, frame: int) -> tuple[str, str, int]:
        found = _numbers(self.tables.get("StackFrames", {}).get(frame, ""))
        where = _numbers(self.tables.get("FileLocations", {}).get(found.get("file_location_id", 0), ""))
        file = self.tables.get("FileNames", {}).get(where.get("file_name_id", 0), "").strip('"')
        return file, str(where.get("line", "")), found.get("parent_frame_id", 0)


class Run(NamedTuple):
    """An instruction of a computation, and how many times a step runs it."""

    computation: str
    instruction: Instruction
    times: int


def program_of(text: str) -> Program:
    """Optimised HLO text as a `Program`."""
    program, current, table = Program(), "", ""
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z]\w+", line):
            table = line
            program.tables[table] = {}
        elif table and (row := re.match(r"(\d+) (.*)", line)):
            program.tables[table][int(row[1])] = row[2]
        elif line[:1] not in ("", " ", "}"):
            match = re.match(r"(ENTRY )?%?([\w.\-]+) \(", line)
            current = match[2] if match else ""
            if match:
                program.computations[current] = []
                program.entry = current if match[1] else program.entry
        elif current and (made := instruction(line)):
            program.computations[current].append(made)
    return program


def instruction(line: str) -> Instruction | None:
    """A line as an instruction, if it is one."""
    match = re.match(r"\s*(ROOT )?%?([\w.\-]+) = (.*)", line)
    kind, rest = _split_type(match[3]) if match else ("", "")
    operation = re.match(r"([\w\-]+)\(", rest)
    return Instruction(match[2], kind, operation[1], rest, bool(match[1])) if match and operation else None


def shapes_of(kind: str) -> list[Shape]:
    """The arrays of a type. `S(1)` in a layout is a memory on the chip; `S(5)` the host's."""
    return [
        Shape(dtype, tuple(int(n) for n in sides.split(",") if n), not re.search(r"S\([1-9]\)", layout))
        for dtype, sides, layout in _SHAPE.findall(kind)
    ]


def bytes_of(kind: str) -> int:
    """Bytes of all arrays of a type."""
    return sum(shape.size for shape in shapes_of(kind))


def trips(loop: Instruction, condition: Iterable[Instruction]) -> int | None:
    """How often the body of a loop runs: as the compiler says, or the largest constant of its condition."""
    known = re.search(r'known_trip_count"?:\{"?n"?:"(\d+)"', loop.rest)
    if known:
        return int(known[1])
    bounds = [int(n) for i in condition if i.operation == "constant" for n in re.findall(r"constant\((\d+)\)", i.rest)]
    return max(bounds, default=None)


def branches(i: Instruction) -> list[str]:
    """The computations of a conditional."""
    listed = _NAME.findall(i.rest.partition("branch_computations=")[2].partition("}")[0])
    return listed or [b for b in (i.called("true_computation"), i.called("false_computation")) if b]


def runs(program: Program, name: str = "", times: int = 1) -> Iterator[Run]:
    """Every instruction as often as it runs, loops multiplied out, fusions whole; of a conditional its longest branch."""
    name = name or program.entry
    for i in program.computations.get(name, ()):
        if i.operation == "while":
            often = trips(i, program.computations.get(i.called("condition"), ())) or 1
            yield from runs(program, i.called("body"), times * often)
        elif i.operation == "conditional":
            longest = max(branches(i), key=lambda b: len(program.computations.get(b, ())), default="")
            yield from runs(program, longest, times) if longest else ()
        elif i.operation in ("call", "async-start") and (inside := i.called("calls") or i.called("to_apply")):
            yield from (Run(name, i, times), *runs(program, inside, times))
        else:
            yield Run(name, i, times)


def closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes; the end of `text` where it does not."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    return len(text)


def _split_type(text: str) -> tuple[str, str]:
    """The type at the head of an instruction, which may be a tuple in parentheses, and what follows."""
    if not text.startswith("("):
        kind, _, rest = text.partition(" ")
        return kind, rest
    end = closing(text, 0) + 1
    return text[:end], text[end:].strip()


def _numbers(row: str) -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", row)}
