"""The phases of a recipe, for commands that look at a run before it starts."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.values import did_you_mean

if TYPE_CHECKING:
    from ssl_jax.recipe import Recipe


def add_phase(parser: ArgumentParser) -> None:
    """Which phase."""
    parser.add_argument("--phase", metavar="NAME", help="only this phase of the recipe (default: each in turn)")


def each_phase(config: Mapping[str, Any], recipe: Recipe, only: str | None) -> dict[str, Mapping[str, Any]]:
    """Each phase as a recipe of its own, by name, or `only` one of them; {"": config} for a recipe without any."""
    from ssl_jax.training.phases import alone

    if not recipe.phases and only is None:
        return {"": config}
    names = [phase.name for phase in recipe.phases]
    if only is not None and only not in names:
        raise UserError(
            f"--phase {only}: there is none{did_you_mean(only, names)} Phases: {', '.join(names) or 'none'}"
        )
    count = recipe.data.examples or len(recipe.data.pretrain.build())
    return {name: found for name, found in alone(config, recipe, count).items() if only in (None, name)}


def heading(name: str) -> list[str]:
    """A line above what is said of a phase."""
    return [f"\nphase {name}"] if name else []


def of_phase(out: str, name: str) -> str:
    """The file for a phase: `plan.json` becomes `plan-large.json`."""
    path = Path(out)
    return str(path.with_stem(f"{path.stem}-{name}")) if name else out
