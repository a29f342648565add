"""`ssl-jax preview`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ssl_jax.commands.shared.options import add_config, path_of
from ssl_jax.commands.shared.phases import add_phase, each_phase, of_phase
from ssl_jax.commands.shared.recipe import recipe_of
from ssl_jax.rundir import terminal

ABOUT = "draw the exact augmented views and masks that the model will be given"
EXAMPLE = "ssl-jax preview --config mae_vit_fashion:tiny --out preview.png"


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_config(parser)
    add_phase(parser)
    parser.add_argument(
        "--out", type=path_of, default="preview.png", metavar="FILE", help="the PNG to write (default: preview.png)"
    )


def run(arguments: Namespace) -> None:
    """A picture of what the model will be given."""
    config, recipe = recipe_of(arguments)
    from ssl_jax.recipe import parse
    from ssl_jax.report.preview import preview as draw

    for name, part in each_phase(config, recipe, arguments.phase).items():
        given = parse(part, recipe.objective.allow) if name else recipe
        terminal.tell(str(draw(given, Path(of_phase(arguments.out, name)))))
