"""`ssl-jax plan`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_jax.commands.shared.exit_codes import DOES_NOT_FIT, DONE, FAILED
from ssl_jax.commands.shared.folders import write_to
from ssl_jax.commands.shared.options import add_config, path_of
from ssl_jax.commands.shared.phases import add_phase, each_phase, heading, of_phase
from ssl_jax.commands.shared.recipe import recipe_of
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal

if TYPE_CHECKING:
    from ssl_jax.plan.audit import Audit

ABOUT = "say before a run what it needs and costs on chips that are not here: memory, FLOPs, wire, time, money"
EXAMPLE = "ssl-jax plan --config mae_vitl_in1k --topology v5e:16x16"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_config(parser)
    add_phase(parser)
    parser.add_argument(
        "--topology", metavar="KIND:SHAPE", help="a TPU slice: v5e:16x16, v5p:8x8x8, v6e:16x16, v4:4x4x4"
    )
    parser.add_argument("--slices", type=int, default=1, metavar="N", help="how many such slices (default: 1)")
    parser.add_argument("--devices", type=int, metavar="N", help="GPUs instead of a slice")
    parser.add_argument("--chip", metavar="NAME", help="a100, h100 (default) or h200")
    parser.add_argument("--price", type=float, metavar="DOLLARS", help="of a chip-hour; default: a list price, assumed")
    parser.add_argument(
        "--pue", type=float, metavar="RATIO", help="energy drawn for each that chips use (assumed: 1.2)"
    )
    parser.add_argument("--grid", type=float, metavar="KG", help="of CO2e for a kWh of electricity (assumed: 0.45)")
    parser.add_argument("--no-compile", action="store_true", help="estimate only: seconds instead of minutes")
    parser.add_argument(
        "--audit",
        action="store_true",
        help="also read the compiled program: FLOPs, bytes and time of each part of the step",
    )
    parser.add_argument("--picture", type=path_of, metavar="FILE", help="with --audit: draw its table, as SVG")
    parser.add_argument("--out", type=path_of, metavar="FILE", help="also write the plan as JSON")


def run(arguments: Namespace) -> int:
    """What the run would need and cost; 3 if it does not fit."""
    from ssl_jax.plan.chips import GIB, parse_target
    from ssl_jax.recipe.automatic import Machine

    if arguments.picture and not arguments.audit:
        raise UserError("--picture draws what --audit finds; give both")
    target = parse_target(arguments.topology, arguments.devices, arguments.chip, arguments.slices)
    os.environ["JAX_PLATFORMS"] = "cpu"  # planning must not take hold of an accelerator
    memory = int(target.chip.hbm_gib * GIB)
    there = Machine(target.chip.jax_platform, target.chip.name, target.count, memory, len(os.sched_getaffinity(0)))
    config, recipe = recipe_of(arguments, machine=lambda: there)
    from ssl_jax.plan.report import as_text
    from ssl_jax.plan.roofline import Site
    from ssl_jax.plan.run import make_plan, write

    given = {"pue": arguments.pue, "grid": arguments.grid}
    site = Site(**{name: value for name, value in given.items() if value is not None})

    fits = []
    for name, part in each_phase(config, recipe, arguments.phase).items():
        made = make_plan(
            part, recipe.objective.allow, target, compiling=not arguments.no_compile, auditing=arguments.audit,
            price=arguments.price, site=site,
        )  # fmt: skip
        terminal.tell("\n".join([*heading(name), as_text(made)]))
        if arguments.out:
            write_to(partial(write, made), of_phase(arguments.out, name))
        if arguments.picture and made.audit:
            write_to(partial(_draw, made.audit), of_phase(arguments.picture, name), "--picture")
        fits.append(made.fits)
    if None in fits:
        return FAILED
    return DONE if all(fits) else DOES_NOT_FIT


def _draw(found: Audit, path: Path) -> None:
    """Milliseconds of each part of the step as bars: its products, and what its bytes take beyond those."""
    from ssl_jax.report.bars import bars

    rows = {
        r.scope: {"products": 1e3 * r.computing, "bytes beyond them": 1e3 * max(r.seconds - r.computing, 0.0)}
        for r in found.rows
    }
    told = "; ".join(f"{name} {sum(row.values()):.3g} ms" for name, row in rows.items())
    drawing = bars(rows, f"Least time of each part of a step: {told}.", "Least time of each part of a step", "ms")
    path.write_text(drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" color="#1d2129" ', 1))
