"""`ssl-jax recipes`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ssl_jax.commands.shared.options import path_of
from ssl_jax.rundir import terminal

ABOUT = "list the recipes that ship with the package, or lie in a folder of yours, and what each reached"
EXAMPLE = "ssl-jax recipes"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    parser.add_argument(
        "folder",
        type=path_of,
        nargs="?",
        metavar="FOLDER",
        help="a folder of your own recipes; default: the shipped ones",
    )


def run(arguments: Namespace) -> None:
    """What ships with the package, or lies in a folder of the user's own, and what it reached."""
    from ssl_jax.recipe import recipes as shipped
    from ssl_jax.recipe.files import own_recipes

    own = arguments.folder is not None
    found = own_recipes(Path(arguments.folder)) if own else shipped()
    named = [
        f"{recipe.path if own else recipe.name}\n    {recipe.summary}\n    {_reached(recipe.result)}"
        for recipe in found
    ]
    terminal.show("\n".join(named))


def _reached(result: str) -> str:
    return f"reached: {result}" if result else "reached: not measured yet"
