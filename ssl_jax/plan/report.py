"""A plan: what was computed, what was compiled, what is assumed; as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ssl_jax.plan.audit import Audit
from ssl_jax.plan.audit_table import as_lines, read
from ssl_jax.plan.chips import GIB, Target
from ssl_jax.plan.collectives import wire_factor
from ssl_jax.plan.estimate import Estimate
from ssl_jax.plan.problem import Problem
from ssl_jax.plan.remedy import HEADROOM, Remedy
from ssl_jax.plan.roofline import WORLD, Cost, Roofline, Site, costs, roofline

COMPILERS = {"tpu": "the TPU compiler (libtpu)", "cuda": "XLA's CUDA compiler", "cpu": "pretended CPU devices"}


@dataclass(frozen=True)
class Plan:
    """All that is known. `compiled` is the answer of `aot.compile_step`; `remedies` pairs each remedy with such an answer."""

    posed: Problem
    target: Target
    estimate: Estimate
    compiler: str
    compiled: Mapping[str, Any]
    remedies: tuple[tuple[Remedy, Mapping[str, Any]], ...] = ()
    price: float | None = None
    site: Site = WORLD

    @property
    def peak(self) -> float | None:
        """Bytes per device: what the chip's compiler says, or else the estimate. None where compiling it failed."""
        return peak_of(self.compiled, self.compiler, self.estimate.peak)

    @property
    def fits(self) -> bool | None:
        """Whether the step fits; None where that is not known."""
        return fits(self.peak, self.target)

    @property
    def audit(self) -> Audit | None:
        """What the compiled program does, where that was asked for and there is one."""
        return read(self.compiled["audit"]) if "audit" in self.compiled else None

    @property
    def least_update(self) -> float:
        """The fewest bytes of an update on one device: gradient read, parameters, moments and teacher read and written."""
        state = Counter({name: part.per_device for name, part in self.estimate.state.items()})
        return 3 * state["params"] + 2 * (state["opt_state"] + state["teacher"])

    @property
    def wire(self) -> Sequence[Mapping[str, Any]]:
        """Collectives of the compiled step; where there is none, the gradient's by formula."""
        if self.compiled["status"] == "ok":
            return self.compiled["collectives"]
        return formula_collectives(self.estimate)

    @property
    def roofline(self) -> Roofline:
        """The floor of one step."""
        state = sum(p.per_device for p in self.estimate.state.values())
        return roofline(self.target, self.estimate.flops, self.wire, state)

    @property
    def costs(self) -> list[Cost]:
        """The run at several utilisations."""
        price = self.target.chip.price if self.price is None else self.price
        return costs(
            self.target, self.estimate.model_flops, self.posed.setup.total_steps, price, self.roofline.floor, self.site
        )


def peak_of(compiled: Mapping[str, Any], compiler: str, estimate: float) -> float | None:
    """Peak bytes per device from a compiler that knows the chip, or the estimate where none does."""
    if compiler == "cpu" or compiled["status"] == "skipped":
        return estimate
    return {"ok": compiled.get("peak"), "oom": compiled.get("need")}.get(compiled["status"])


def fits(peak: float | None, target: Target) -> bool | None:
    """Whether `peak` bytes are within what a program may use."""
    return None if peak is None else peak <= target.chip.hbm_gib * GIB


def formula_collectives(made: Estimate) -> list[dict[str, Any]]:
    """What the parameters alone cost on the wire: an all-reduce, or under FSDP two gathers and a reduce-scatter."""
    weights, found = made.wire, []

    def add(operation: str, group: int, payload: float, count: int = 1) -> None:
        if group > 1:
            wire = payload * wire_factor(operation, group)
            found.append({"operation": operation, "group": group, "count": count, "payload": payload, "wire": wire})

    fsdp, data = made.sizes["fsdp"], made.sizes["data"]
    if fsdp > 1:
        add("all-gather", fsdp, 2 * weights)
        add("reduce-scatter", fsdp, weights)
    add("all-reduce", data, weights / fsdp)
    return found


def as_json(plan: Plan) -> dict[str, Any]:
    """The whole plan as plain values."""
    return {
        "target": plan.target.title, "devices": plan.target.count, "hbm_gib": plan.target.chip.hbm_gib,
        "fits": plan.fits, "peak_bytes": plan.peak, "compiler": plan.compiler, "compiled": dict(plan.compiled),
        "estimate": asdict(plan.estimate) | {"peak": plan.estimate.peak, "checkpoint": plan.estimate.checkpoint},
        "steps": plan.posed.setup.total_steps, "examples_seen": plan.posed.setup.total_steps * plan.posed.recipe.batch_size,
        "wire": [dict(c) for c in plan.wire], "roofline": asdict(plan.roofline) | {"bound": plan.roofline.bound},
        "assumed": {"chip": asdict(plan.target.chip), "price": plan.price, "site": asdict(plan.site)},
        "costs": [asdict(c) for c in plan.costs],
        "remedies": [asdict(r) | {"flags": r.flags, "compiled": dict(c)} for r, c in plan.remedies],
    }  # fmt: skip


def as_text(plan: Plan) -> str:
    """The plan for a person: verdict last, where the eye lands."""
    audited = [as_lines(plan.audit, plan.least_update)] if plan.audit else []
    parts = (
        _head(plan),
        _model(plan),
        _memory(plan),
        _work(plan),
        _network(plan),
        *audited,
        _time(plan),
        _verdict(plan),
    )
    return "\n\n".join("\n".join(part) for part in parts)


def size(count: float) -> str:
    """Bytes with a unit, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    raise AssertionError


def number(count: float) -> str:
    """A large number with a decimal prefix."""
    for factor, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= factor:
            return f"{count / factor:.3g} {letter}"
    return f"{count:.3g} "


def _head(plan: Plan) -> list[str]:
    sizes = plan.estimate.sizes
    mesh = " x ".join(f"{axis}={n}" for axis, n in sizes.items() if n > 1) or "one device"
    rows = plan.posed.recipe.batch_size // (sizes["data"] * sizes["fsdp"])
    return [f"{plan.target.title}: {plan.target.count} devices, {mesh}, {rows} examples on each"]


def _model(plan: Plan) -> list[str]:
    made = plan.estimate.parameters
    rows = [
        ("parameters", number(sum(made.values())).strip()),
        *((f"  {k}", number(v).strip()) for k, v in made.items()),
    ]
    return ["MODEL (computed)", *_table(rows)]


def _memory(plan: Plan) -> list[str]:
    made, done = plan.estimate, plan.compiled
    names = {"params": "parameters", "opt_state": "optimiser"}
    rows = [(names.get(k, k), size(v.per_device)) for k, v in made.state.items() if v.total > 1024]
    rows += [
        ("of these, on every device alike", size(made.replicated)),
        ("batch of records", size(made.batch)),
        ("activations and gradients (estimate)", size(made.temporaries)),
        ("peak (estimate)", size(made.peak)),
    ]
    if done["status"] == "ok":
        label = f"{COMPILERS[plan.compiler]}, {done['compile_seconds']:.0f} s"
        if plan.compiler == "cpu":
            rows.append(
                ("arguments + temporaries on a CPU", f"{size(done['arguments'] + done['temporaries'])}  ({label})")
            )
        else:
            rows.append(("peak (compiled)", f"{size(done['peak'])}  ({label})"))
    rows += [("a program may use", f"{plan.target.chip.hbm_gib:.2f} GiB"), ("one checkpoint", size(made.checkpoint))]
    return ["MEMORY, per device", *_table(rows)]


def _work(plan: Plan) -> list[str]:
    made, recipe, steps = plan.estimate, plan.posed.recipe, plan.posed.setup.total_steps
    seen = steps * recipe.batch_size
    source = "declared by data.examples" if plan.posed.declared else "counted"
    rows = [
        ("FLOPs per example", f"{number(made.model_flops / recipe.batch_size)}FLOP"),
        ("FLOPs per step", f"{number(made.model_flops)}FLOP, with recomputation {number(made.flops)}FLOP"),
        ("steps", f"{steps:,}"),
        ("examples seen", f"{number(seen).strip()} of {plan.posed.examples:,} records ({source})"),
    ]
    if made.tokens:
        rows.append(("tokens seen", f"{number(seen * made.tokens).strip()} ({made.tokens} per example)"))
    return ["WORK (computed)", *_table(rows)]


def _network(plan: Plan) -> list[str]:
    compiled = plan.compiled["status"] == "ok"
    how = f"as compiled by {COMPILERS[plan.compiler]}" if compiled else "by formula, gradient and weights only"
    rows = [(f"{c['operation']} over {c['group']}", f"{c['count']:>5} x  {size(c['wire'])}") for c in plan.wire] or [
        ("none", "")
    ]
    if compiled and plan.compiled["unread"]:
        rows.append(("not understood", ", ".join(plan.compiled["unread"][:4])))
    return [f"WIRE, per device and step ({how})", *_table(rows)]


def _time(plan: Plan) -> list[str]:
    line, chip = plan.roofline, plan.target.chip
    price = chip.price if plan.price is None else plan.price
    rows = [
        ("no step is faster than", f"{_seconds(line.floor)}, bound by {line.bound}"),
        ("  compute", f"{_seconds(line.compute)} at {chip.peak / 1e12:.0f} TFLOP/s"),
        (
            "  network",
            f"{_seconds(line.network)} at {chip.link / 1e9:.0f} GB/s ({chip.outer / 1e9:.0f} beyond the fast links)",
        ),
        (
            "  state through memory",
            f"{_seconds(line.memory)} at {chip.bandwidth / 1e12:.2f} TB/s; activations come on top",
        ),
    ]
    table = [f"  {'at an MFU of':<14}{'step':>10}{'run':>12}{'chip-hours':>14}{'money':>14}{'energy':>14}{'CO2e':>12}"]
    for c in plan.costs:
        cells = f"{_seconds(c.step):>10}{_hours(c.hours):>12}{c.chip_hours:>14,.0f}{f'${c.money:,.0f}':>14}"
        cells += f"{f'{c.energy:,.0f} kWh':>14}{_mass(c.carbon):>12}"
        table.append(f"  {c.utilisation:<14.0%}{cells}")
    told = f"TIME (computed from assumed data-sheet rates; MFU and ${price:.2f} a chip-hour are assumptions)"
    power = f"  Energy: chips alone at {chip.watts:.0f} W, PUE {plan.site.pue:g}, {plan.site.grid:g} kg CO2e/kWh (assumptions)"
    return [told, *_table(rows), *table, power]


def _verdict(plan: Plan) -> list[str]:
    peak, limit = plan.peak, plan.target.chip.hbm_gib * GIB
    known = "estimate" if plan.compiler == "cpu" or plan.compiled["status"] == "skipped" else "compiled"
    if peak is None:
        return [f"VERDICT: could not be planned; the compiler said: {plan.compiled.get('message', '')}"]
    if plan.fits:
        tight = "" if peak <= HEADROOM * limit else "; tight: prefetch and evaluation need room too"
        return [f"VERDICT ({known}): fits, {size(limit - peak)} to spare{tight}"]
    lines = [f"VERDICT ({known}): does not fit by {size(peak - limit)}"]
    if plan.compiled["status"] == "oom":
        lines.append(f"  The compiler said: {plan.compiled['message'].splitlines()[0]}")
        lines.append("  That is arguments, results and temporaries together; G is GiB.")
    for remedy, answer in plan.remedies:
        lines += _remedy(plan, remedy, answer)
    return lines if plan.remedies else [*lines, "  No remedy was found: use more or larger devices."]


def _remedy(plan: Plan, remedy: Remedy, answer: Mapping[str, Any]) -> list[str]:
    peak = peak_of(answer, plan.compiler, remedy.peak)
    unconfirmed = plan.compiler == "cpu" or answer["status"] == "skipped"
    if peak is None:
        outcome = f"could not be confirmed: {answer.get('message', answer['status'])[:200]}"
    else:
        verb = "fits" if fits(peak, plan.target) else "does not fit"
        outcome = f"{verb}: {size(peak)} ({'estimate' if unconfirmed else 'compiled'})"
    cost = f", about {remedy.slower:+.0%} step time" if remedy.slower else ""
    return [f"  Remedy: {remedy.flags}", f"    {outcome}{cost}", *([f"    {remedy.note}"] if remedy.note else [])]


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    width = max(len(name) for name, _ in rows) + 2
    return [f"  {name:<{width}}{value}" for name, value in rows]


def _seconds(s: float) -> str:
    return f"{s:.2f} s" if s >= 1 else f"{1e3 * s:.3g} ms"


def _mass(kg: float) -> str:
    return f"{kg / 1000:,.1f} t" if kg >= 1000 else f"{kg:,.1f} kg"


def _hours(h: float) -> str:
    return f"{h / 24:.1f} days" if h >= 48 else f"{h:.1f} h" if h >= 0.1 else f"{3600 * h:.0f} s"
