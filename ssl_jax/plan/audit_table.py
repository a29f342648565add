"""An audit for a person: parts of the step, what they are bound by, the worst instructions, the collectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssl_jax.plan.audit import Audit, Row, Work
from ssl_jax.plan.overlap import Exchange

NARROW = ("bf16", "f16", "s8", "u8")
HEAD = f"  {'part':<10}{'TFLOP':>8}{'in f32':>9}{'again':>8}{'GB':>9}{'copies':>9}{'kernels':>9}{'products':>11}{'floor':>11}"


def read(answer: Mapping[str, Any]) -> Audit:
    """An audit from its plain values, `dataclasses.asdict`."""
    return Audit(
        tuple(Row(**x) for x in answer["rows"]),
        tuple(Work(**x) for x in answer["worst"]),
        tuple(Exchange(**x) for x in answer["exchanges"]),
        answer["bandwidth"],
    )


def as_lines(made: Audit, least: float | None = None) -> list[str]:
    """The table; `least` is the fewest bytes that the update of the state can move."""
    title = "AUDIT, per device and step: the compiled program at the data sheet's rates; nothing was run"
    return [title, HEAD, *map(_row, (*made.rows, made.total)), "", *_facts(made, least), "", *_worst(made)]


def _row(r: Row) -> str:
    wide = sum(n for dtype, n in r.flops.items() if dtype not in NARROW)
    cells = f"{sum(r.flops.values()) / 1e12:>8.3f}{wide / 1e12:>9.3f}{r.replayed / 1e12:>8.3f}{r.bytes / 1e9:>9.2f}"
    return f"  {r.scope:<10}{cells}{r.moved / 1e9:>9.2f}{r.kernels:>9}{_time(r.computing):>11}{_time(r.seconds):>11}"


def _facts(made: Audit, least: float | None) -> list[str]:
    total = made.total
    facts = [
        f"no step of this program is faster than {_time(made.seconds)}: {made.ratio:.2f} of its products alone",
        f"copies and transposes: {_share(total.moved, total.bytes)} of the bytes",
        f"products in float32 or wider: {_share(_wide(total), sum(total.flops.values()))} of the FLOPs",
    ]
    facts += [f"{r.scope}: {_share(r.seconds, total.seconds)} of the floor" for r in made.rows if r.scope == "augment"]
    facts += _update(made, least) + list(map(_exchange, made.exchanges))
    if total.kernels:
        facts.append(f"{total.kernels} kernels whose products cannot be counted: their FLOPs are missing above")
    return [f"  {fact}" for fact in facts]


def _update(made: Audit, least: float | None) -> list[str]:
    found = sum(r.bytes for r in made.rows if r.scope == "update")
    told = f"update of the state: {found / 1e9:.2f} GB, {found / least:.2f} of the least" if least else ""
    return [told] if told else []


def _exchange(e: Exchange) -> str:
    waits = (
        f"{e.asynchronous} start and end apart, {e.covered} of them with work between" if e.asynchronous else "all wait"
    )
    return f"{e.count} x {e.operation}, {e.payload / 1e9:.2f} GB: {waits} ({_time(e.beside)})"


def _worst(made: Audit) -> list[str]:
    return ["  what takes longest beyond its products:", *map(_work, made.worst)]


def _work(w: Work) -> str:
    where = w.line or w.name
    return f"  {_time(w.seconds):>9} {w.bytes / 1e9:>7.2f} GB {w.times:>5} x  {w.scope:<9} {w.kind:<8} {where}  {w.what}".rstrip()


def _wide(r: Row) -> float:
    return sum(n for dtype, n in r.flops.items() if dtype not in NARROW)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _time(s: float) -> str:
    return f"{s:.2f} s" if s >= 1 else f"{1e3 * s:.2f} ms"
