"""`ssl-jax report`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ssl_jax.commands.shared.folders import existing_run
from ssl_jax.commands.shared.options import add_allow, add_out_folder, add_workdir
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.rundir import terminal

ABOUT = "write one offline HTML page: recipe, curves, health, probes with baselines, pictures"
EXAMPLE = "ssl-jax report --workdir runs/x"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_workdir(parser, "a run directory written by ssl-jax train")
    add_out_folder(parser)
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """The run as one HTML page."""
    allow = allowed(arguments.allow)
    with existing_run(arguments.workdir) as workdir:
        from ssl_jax.devices.compiler import keep_compiled_programs
        from ssl_jax.report.page import report as write

        keep_compiled_programs()
        write(workdir, allow, **({"out": Path(arguments.out)} if arguments.out else {}))
    terminal.tell(os.path.join(arguments.out or arguments.workdir.rstrip("/"), "report.html"))
