"""`tools/benchmark`: cases, phases, waiting and peers, into one JSON file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import jax

from ssl_jax.benchmark.cases import PAPER, SMALL, Size, posed
from ssl_jax.benchmark.machine import Machine, description, measure_machine
from ssl_jax.benchmark.measure import measure_phases, measure_steps, prepared
from ssl_jax.benchmark.peers.compare import SIZES, compare
from ssl_jax.benchmark.phases import separable
from ssl_jax.benchmark.report import as_text, steps_table
from ssl_jax.benchmark.waiting import measure_waiting
from ssl_jax.errors import UserError

PARTS = ("phases", "data")  # what is measured of the fastest variant


@dataclass(frozen=True)
class Settings:
    """What to measure. `size.batch` is per device, `steps` are the rounds of every measurement."""

    models: Sequence[str]
    objectives: Sequence[str]
    variants: Sequence[str]
    size: Size
    steps: int
    threads: int
    peers: Sequence[str] = ()
    peer_steps: int = 2
    torch_python: str | None = None
    parts: Sequence[str] = PARTS


def defaults(platform: str) -> Settings:
    """Small sizes on a CPU, the papers' on anything else."""
    objectives = ("mae", "simclr", "dino")
    if platform == "cpu":
        return Settings(("S",), objectives, ("scan+full", "scan"), SMALL, 3, 0)
    variants = ("scan+full", "scan+dots", "scan", "unroll") + (
        ("scan+cudnn", "unroll+cudnn") if platform == "gpu" else ()
    )
    return Settings(("S", "B", "L"), objectives, variants, PAPER, 10, 16)


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """What `settings` ask for as JSON-ready values, again after every case and peer, with all that has been measured so far."""
    machine = measure_machine(settings.size.dtype)
    made = {"made_by": "tools/benchmark"} | description(machine)
    made |= {"rounds": settings.steps, "size": asdict(settings.size), "cases": [], "peers": {}}
    for model, objective in product(settings.models, settings.objectives):
        made["cases"].append(_case(settings, machine, objective, model))
        yield made
    for name in settings.peers:
        made["peers"][name] = compare(name, settings.steps, settings.peer_steps, settings.torch_python)
        yield made


def _case(settings: Settings, machine: Machine, objective: str, model: str) -> dict[str, Any]:
    size, batch = settings.size, settings.size.batch * machine.count
    runs = {}
    for name in settings.variants:
        _tell(f"{objective} ViT-{model} {name}: compiling")
        runs[name] = prepared(posed(objective, model, name, size, batch))
    _tell(f"{objective} ViT-{model}: measuring")
    variants = measure_steps(runs, settings.steps, machine)
    fastest = max(variants, key=lambda name: variants[name]["examples_per_second"])
    apart = "phases" in settings.parts and separable(runs[fastest].posed.setup.objective)
    found = {
        "objective": objective, "model": model, "batch": batch, "image": size.image, "variants": variants,
        "phases_of": fastest, "phases": measure_phases(runs[fastest], settings.steps, machine) if apart else {},
        "data": measure_waiting(runs[fastest], settings.steps, size.stored, settings.threads)
        if "data" in settings.parts else {},
    }  # fmt: skip
    print(steps_table(found, machine.clock), flush=True)  # a long run may not live to print all
    return found


def run(settings: Settings, out: Path | None) -> dict[str, Any]:
    """Measure, write the JSON after every case, so that a run that is stopped leaves what it had, and print the tables."""
    result: dict[str, Any] = {}
    for result in measure(settings):
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(result, indent=1) + "\n")
    print(as_text(result))
    if out is not None:
        print(f"\n{out}")
    return result


def chosen(options: Mapping[str, Any]) -> Settings:
    """The defaults of this machine with what the user set (None: not set) in their place.

    Raises UserError for numbers below 1 and peers that do not exist; `posed` checks the other names.
    """
    given = {k: v for k, v in options.items() if v is not None}
    for key in ("steps", "batch", "image", "local"):
        if given.get(key, 1) < 1:
            raise UserError(f"--{key} {given[key]}: must be 1 or more")
    for name in given.get("peers", ()):
        if name not in SIZES:
            raise UserError(f"--peers {name}: unknown; known are {', '.join(SIZES)}")
    settings = defaults(jax.default_backend())
    size = replace(settings.size, **{k: given[k] for k in ("image", "local", "batch", "dtype") if k in given})
    return replace(settings, size=size, **{k: v for k, v in given.items() if hasattr(settings, k)})


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
