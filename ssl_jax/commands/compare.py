"""`ssl-jax compare`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path

from ssl_jax.commands.shared.folders import existing_run
from ssl_jax.commands.shared.options import add_allow, path_of
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.rundir import terminal

ABOUT = "set runs beside each other: results, significance, curves by examples and by compute, recipes"
EXAMPLE = "ssl-jax compare runs/a runs/b --out compare"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    about = (
        "run directories; those that differ in their seed only are one group, and others are compared with the first"
    )
    parser.add_argument("runs", nargs="*", type=path_of, metavar="RUN", help=about)
    parser.add_argument(
        "--out", type=path_of, default="compare", metavar="FOLDER", help="for compare.html (default: compare)"
    )
    parser.add_argument("--no-pictures", action="store_true", help="do not read checkpoints and data for pictures")
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """Compare, write, and print the table."""
    allow = allowed(arguments.allow)
    with ExitStack() as stack:
        from ssl_jax.compare.run import compare
        from ssl_jax.devices.compiler import keep_compiled_programs

        folders = [(word, stack.enter_context(existing_run(word))) for word in arguments.runs]
        keep_compiled_programs()
        out, pictures = Path(arguments.out), not arguments.no_pictures
        terminal.tell(compare(folders, out, allow, pictures, terminal.complain))
    terminal.tell(os.path.join(arguments.out, "compare.html"))
