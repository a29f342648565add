"""`ssl-jax eval`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from ssl_jax.commands.shared.folders import existing_run
from ssl_jax.commands.shared.options import add_allow, add_out_folder, add_workdir
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.rundir import terminal

ABOUT = "probe the frozen features of a run, beside raw pixels, a random and a supervised encoder"
EXAMPLE = "ssl-jax eval --workdir runs/x --probes linear,knn"
OVERRIDES = "--config.evaluate."  # what of the run's recipe may be changed


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_workdir(parser, "a run directory written by ssl-jax train")
    parser.add_argument(
        "--data", metavar="SRC", help="labelled pictures to evaluate on, where the recipe has none or others are wanted"
    )
    parser.add_argument("--probes", metavar="A,B", help="linear, knn, fewshot; default: the recipe's")
    parser.add_argument("--step", type=int, metavar="N", help="which checkpoint; default: the newest")
    parser.add_argument(
        "--encoder",
        action="append",
        metavar="A,B",
        help="which encoders, e.g. student, teacher, image, text; repeatable; default: the recipe's",
    )
    add_out_folder(parser)
    parser.add_argument(
        "--config.evaluate.KEY", dest="_override", metavar="VALUE", help="change how the run is evaluated; repeatable"
    )
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """Probe the frozen features of a run and print the table."""
    allow = allowed(arguments.allow)
    with existing_run(arguments.workdir, arguments.step) as workdir:
        from ssl_jax.devices.compiler import keep_compiled_programs
        from ssl_jax.evaluate.run import evaluate_run

        keep_compiled_programs()
        probes = tuple(p.strip() for p in arguments.probes.split(",") if p.strip()) if arguments.probes else None
        options: dict[str, Any] = {} if arguments.encoder is None else {"encoder": ",".join(arguments.encoder)}
        options |= {"overrides": arguments.overrides} if arguments.overrides else {}
        options |= {"out": Path(arguments.out)} if arguments.out else {}
        options |= {"data": arguments.data} if arguments.data else {}
        terminal.tell(evaluate_run(workdir, probes, arguments.step, allow, **options))
    terminal.tell(os.path.join(arguments.out or arguments.workdir.rstrip("/"), "eval"))
