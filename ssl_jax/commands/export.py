"""`ssl-jax export`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ssl_jax.commands.shared.folders import existing_run
from ssl_jax.commands.shared.options import add_allow, add_workdir, path_of
from ssl_jax.commands.shared.recipe import allowed
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal

ABOUT = "write the encoder of a run for timm, transformers or anyone, with a model card"
EXAMPLE = "ssl-jax export --workdir runs/x --format hf --out exported/x"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_workdir(parser, "a run directory written by ssl-jax train")
    parser.add_argument(
        "--format", default="safetensors", metavar="NAME", help="safetensors (default), timm, hf or stablehlo"
    )
    parser.add_argument("--out", type=path_of, metavar="FOLDER", help="the folder to write; created")
    parser.add_argument("--encoder", metavar="NAME", help="student, teacher, ...; default: the recipe's")
    parser.add_argument("--step", type=int, metavar="N", help="which checkpoint; default: the newest")
    add_allow(parser)


def run(arguments: Namespace) -> None:
    """Write the encoder of a run, and tell what its user has to know."""
    if not arguments.out:
        raise UserError("export needs --out FOLDER, where the files go")
    allow = allowed(arguments.allow)
    with existing_run(arguments.workdir, arguments.step) as workdir:
        from ssl_jax.export.run import export

        told = export(workdir, Path(arguments.out), arguments.format, arguments.encoder, arguments.step, allow)
    for line in told:
        terminal.tell(f"note: {line}")
    terminal.tell(arguments.out)
