"""`ssl-jax train`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import cache, partial

from ssl_jax.commands.shared.options import add_config, add_workdir
from ssl_jax.commands.shared.recipe import here, recipe_of
from ssl_jax.commands.shared.training import add_processes, add_resuming, join, trained

ABOUT = "pretrain without labels; starting again with the same directory resumes"
EXAMPLE = """ssl-jax train --data /photos --workdir runs/x
  ssl-jax train --config mae_vit_fashion:tiny --workdir runs/x --config.optimizer.lr=1e-3"""


def options(parser: ArgumentParser) -> None:
    """Add its options."""
    add_config(parser)
    add_workdir(parser, "the run directory; created, or resumed")
    add_resuming(parser)
    add_processes(parser)


def run(arguments: Namespace) -> None:
    """Pretrain, or resume."""
    notes: list[str] = []
    join_once = cache(partial(join, arguments))
    config, recipe = recipe_of(arguments, notes.append, lambda: join_once() or here())
    join_once()
    trained(arguments, config, recipe, notes)
