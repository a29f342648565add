"""What the program that XLA compiled for a chip spends its time on, by part of the step.

Every instruction is given the seconds that its products or its bytes take at the chip's full rates, whichever is longer; loops
are multiplied out. No step of this program is faster than their sum, and none of any program faster than its products alone.
Parts of a step are the `jax.named_scope`s in `training/step.py` and `objectives/shared/`; an instruction that fuses several
belongs to that of its root. Collectives have times of their own (`overlap.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ssl_jax.plan.chips import Chip
from ssl_jax.plan.collectives import OPERATIONS
from ssl_jax.plan.hlo import Instruction, Program, Run, program_of, runs
from ssl_jax.plan.overlap import Exchange, exchanges
from ssl_jax.plan.products import is_kernel, products
from ssl_jax.plan.traffic import STARTS, is_free, is_move, traffic

SCOPES = ("augment", "forward", "loss", "backward", "update", "teacher", "other")
WORST = 10


@dataclass(frozen=True)
class Work:
    """An instruction with all its runs in one step on one device. `seconds` at full rates; those of a prefetch are 0."""

    name: str
    scope: str
    line: str  # of ours, that made it
    what: str  # the end of jax's name for it: module and primitive
    times: int
    flops: Mapping[str, float]
    bytes: float
    seconds: float
    kind: str  # product | move | kernel | other
    replayed: bool  # recomputed in the backward pass

    @property
    def products(self) -> float:
        """FLOPs of every kind of number."""
        return sum(self.flops.values())


@dataclass(frozen=True)
class Row:
    """What the instructions of one scope add up to."""

    scope: str
    flops: Mapping[str, float] = field(default_factory=dict)
    replayed: float = 0.0  # FLOPs
    bytes: float = 0.0
    moved: float = 0.0  # bytes of copies and transposes
    kernels: int = 0
    computing: float = 0.0  # seconds of products alone
    seconds: float = 0.0


@dataclass(frozen=True)
class Audit:
    """One row for each scope that has work, the worst instructions, and the collectives with what hides them."""

    rows: tuple[Row, ...]
    worst: tuple[Work, ...]
    exchanges: tuple[Exchange, ...]
    bandwidth: float

    @property
    def total(self) -> Row:
        """All rows together."""
        return added("total", self.rows)

    @property
    def seconds(self) -> float:
        """The floor under this program: what its instructions need one after the other, or its bytes at once."""
        return max(self.total.seconds, self.total.bytes / self.bandwidth)

    @property
    def ratio(self) -> float:
        """That floor over the products alone."""
        return self.seconds / self.total.computing if self.total.computing else float("inf")


def audit(text: str, chip: Chip) -> Audit:
    """The audit of an optimised program on `chip`."""
    program = program_of(text)
    works = [work(program, run, chip) for run in runs(program) if counts(run.instruction)]
    rows = (added(scope, map(row, (w for w in works if w.scope == scope))) for scope in SCOPES)
    worst = sorted(works, key=lambda w: w.seconds - _computing(w.flops, chip), reverse=True)[:WORST]
    moving = exchanges(program, lambda run: work(program, run, chip).seconds if counts(run.instruction) else 0.0)
    return Audit(tuple(_timed(r, chip) for r in rows if r.bytes), tuple(worst), tuple(moving), chip.bandwidth)


def counts(i: Instruction) -> bool:
    """Whether the device's own units work on it."""
    return not is_free(i) and i.operation.removesuffix("-start") not in OPERATIONS


def work(program: Program, run: Run, chip: Chip) -> Work:
    """What one instruction costs in a step."""
    i = run.instruction
    name = jax_name(program, i)
    flops = {k: run.times * n for k, n in products(program, run.computation, i).items()}
    size = run.times * float(traffic(program, run.computation, i))
    seconds = 0.0 if i.operation in STARTS else max(_computing(flops, chip), size / chip.bandwidth)
    kind = "product" if flops else "move" if is_move(program, i) else "kernel" if is_kernel(i) else "other"
    what = "/".join(name.split("/")[-2:])
    replayed = "rematted_computation" in name
    return Work(i.name, scope_of(name), line_of(program, i), what, run.times, flops, size, seconds, kind, replayed)


def jax_name(program: Program, i: Instruction) -> str:
    """jax's name of an instruction; where a fusion has none, the first of its root and its other parts."""
    body = program.computations.get(i.called("calls"), [])
    names = (x.op_name for x in (i, *sorted(body, key=lambda x: not x.root)))
    return next((name for name in names if "/" in name), i.op_name)


def line_of(program: Program, i: Instruction) -> str:
    """The line of ours that made an instruction, or the root of a fusion."""
    body = program.computations.get(i.called("calls"), [])
    return next(filter(None, (program.line(x) for x in (i, *sorted(body, key=lambda x: not x.root)))), "")


def scope_of(name: str) -> str:
    """The part of the step that jax's name of an instruction says: `jit(step)/transpose(jvp(loss))/...` is `backward`."""
    for scope in ("augment", "update", "teacher"):  # the teacher moves in the update
        if re.search(rf"\b{scope}\b", name):
            return scope
    if "transpose(" in name:
        return "backward"
    return next((scope for scope in ("forward", "loss") if re.search(rf"\b{scope}\b", name)), "other")


def row(w: Work) -> Row:
    """One instruction as a row."""
    moved = w.bytes if w.kind == "move" else 0.0
    again = w.products if w.replayed else 0.0
    return Row(w.scope, w.flops, again, w.bytes, moved, w.times * (w.kind == "kernel"), 0.0, w.seconds)


def added(scope: str, rows: Iterable[Row]) -> Row:
    """The sum of some rows."""
    rows = list(rows)
    flops: Counter[str] = sum((Counter(r.flops) for r in rows), Counter())
    names = ("replayed", "bytes", "moved", "kernels", "computing", "seconds")
    sums: dict[str, Any] = {name: sum(getattr(r, name) for r in rows) for name in names}
    return Row(scope, dict(flops), **sums)


def _timed(r: Row, chip: Chip) -> Row:
    return Row(r.scope, r.flops, r.replayed, r.bytes, r.moved, r.kernels, _computing(r.flops, chip), r.seconds)


def _computing(flops: Mapping[str, float], chip: Chip) -> float:
    """Seconds of products alone."""
    return sum(count / chip.rate(dtype) for dtype, count in flops.items())
