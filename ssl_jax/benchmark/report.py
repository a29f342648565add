"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MEGA, GIGA, TERA = 1e6, 1e9, 1e12


def as_text(result: Mapping[str, Any]) -> str:
    """All tables of a result."""
    parts = [head(result)]
    for case in result["cases"]:
        parts += [steps_table(case, result["hardware"]["clock"]), phases_table(case, result["hardware"]["clock"])]
    parts += [peers_table(name, peer) for name, peer in result["peers"].items()]
    return "\n\n".join(p for p in parts if p)


def head(result: Mapping[str, Any]) -> str:
    """What was measured on."""
    h = result["hardware"]
    matmul, copy = h["matmul_flops_per_second"] / GIGA, h["copy_bytes_per_second"] / GIGA
    rates = f"matrix product {matmul:,.0f} GFLOP/s, copy {copy:,.1f} GB/s"
    return (
        f"{h['devices']} x {h['kind']} ({h['processor']}), {h['dtype']}; {rates} (measured)\n"
        f"utilisation is of {h['peak_flops_per_second'] / TERA:,.3g} TFLOP/s ({h['peak_from']}); seconds are "
        + (
            "those of the processor, since the wall clock of a shared CPU says little"
            if h["clock"] == "cpu"
            else "wall time"
        )
    )


def steps_table(case: Mapping[str, Any], clock: str) -> str:
    """Variants of one case."""
    rows = [("variant", "examples/s", "utilisation", "s/step", "least-most", "temporary MB", "compile s")]
    for name, row in case["variants"].items():
        s = row["seconds"][clock]
        rows.append(
            (
                name, f"{row['examples_per_second']:.3g}", f"{row['utilisation']:.1%}", f"{s['median']:.3g}",
                f"{s['least']:.3g}-{s['most']:.3g}", f"{row['memory']['temporaries'] / MEGA:,.0f}",
                f"{row['compile_seconds'][clock]:.3g}",
            )
        )  # fmt: skip
    title = f"{case['objective']}, ViT-{case['model']}, batch {case['batch']}, {case['image']} pixels"
    if case.get("data"):
        data = case["data"]
        title += f"; waits for data {data['share']:.0%} of the time, {data['threads']} decoding threads"
    return title + "\n" + table(rows)


def phases_table(case: Mapping[str, Any], clock: str) -> str:
    """Phases of one case."""
    if not case.get("phases"):
        return ""
    rows = [("phase", "s", "floor s", "gap", "bound by", "GFLOP", "MB")]
    for name, phase in case["phases"].items():
        rows.append(
            (
                name, f"{phase['seconds'][clock]['median']:.3g}", f"{phase['floor_seconds']:.3g}", f"{phase['gap']:.1f}x",
                phase["bound"], f"{phase['flops'] / GIGA:,.3g}", f"{phase['bytes'] / MEGA:,.0f}",
            )
        )  # fmt: skip
    total = sum(p["seconds"][clock]["median"] for p in case["phases"].values())
    whole = case["variants"][case["phases_of"]]["seconds"][clock]["median"]
    return f"phases of {case['phases_of']}: together {total / whole:.2f} of a step\n" + table(rows)


def peers_table(name: str, peer: Mapping[str, Any]) -> str:
    """One size against PyTorch."""
    clock, check = peer["clock"], peer["check"]
    rows = [("side", "examples/s", "s/step", "least-most", *(f"{t} / it" for t in peer["ratios"]), "first steps s")]
    for side, row in peer["rows"].items():
        s = row["seconds"][clock]
        shares = [f"{r[side]['median']:.2f}" if side in r else "" for r in peer["ratios"].values()]
        first = f"{row['first_steps_seconds'][clock]:.3g}"
        spread = f"{s['least']:.3g}-{s['most']:.3g}"
        rows.append((side, f"{row['examples_per_second']:.3g}", f"{s['median']:.3g}", spread, *shares, first))
    worst = max(check["difference"].values())
    title = (
        f"{name}: losses of {check['steps']} steps agree to {worst:.1e} (allowed {check['tolerance']:.0e}); {peer['dtype']}, "
        f"{clock} time, torch {peer['versions']['torch']}, {peer['blocks']} blocks"
    )
    return "\n".join([title, table(rows), *(f"{side} failed: {why}" for side, why in peer["failed"].items())])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
