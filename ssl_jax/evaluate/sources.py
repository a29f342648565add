"""What an evaluation reads: the sources of a run's recipe, or others that the user names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssl_jax.data.fit import check_scales
from ssl_jax.errors import UserError
from ssl_jax.evaluate.classes import labelled, numbered_alike
from ssl_jax.recipe import Recipe
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.slots import SOURCE
from ssl_jax.recipe.sources import opened, options_of
from ssl_jax.recipe.splits import splits_of
from ssl_jax.rundir.log import logger

SPLITS = ("pretrain", "probe", "test")
UNLABELLED = (
    "the recipe has no data.probe and data.test, and nothing can be evaluated without labels. `ssl-jax report` shows losses, "
    "health and nearest neighbours, which need none. With labelled records of the same kind, such as a folder for each class: "
    "the same command with --data FOLDER"
)


def probe_and_test(recipe: Recipe, data: str | None = None) -> tuple[Any, Any]:
    """What probes learn from and what they are tested on, their classes numbered alike: of the recipe, or as `data` names it.

    Records without a label are left out. UserError where there are no labels.
    """
    parts = (recipe.data.probe, recipe.data.test) if data is None else _named(data, recipe)
    if parts[0] is None or parts[1] is None:
        raise UserError(
            UNLABELLED if data is None else f"--data {data} has no labels; name labelled sources there to evaluate"
        )
    train, test = (labelled(part.build(), recipe.evaluate.label) for part in parts if part is not None)
    test = numbered_alike(train, test, recipe.evaluate.label)
    check_scales({"probe": train, "test": test})
    return train, test


def source_named(text: str, recipe: Recipe) -> Any:
    """A split of the recipe by name (pretrain, probe, test), or what a string names: `folder:/photos`, a path that is there."""
    if text not in SPLITS:
        return opened(text, "SRC", logger.info, **_usual(recipe))
    part = getattr(recipe.data, text)
    if part is None:
        raise UserError(f"the recipe has no data.{text}; name a source, such as folder:/photos or a path")
    return part.build()


def _named(data: str, recipe: Recipe) -> tuple[Component | None, Component | None]:
    found = splits_of(data, _usual(recipe), say=logger.info)
    probe, test = (None if part is None else _component(part) for part in (found.probe, found.test))
    return probe, test


def _usual(recipe: Recipe) -> Mapping[str, Any]:
    """Options that a named source takes over from the recipe's, such as `size`, where it says no others."""
    return options_of((recipe.data.probe or recipe.data.pretrain).options)


def _component(options: Mapping[str, Any]) -> Component:
    rest = {key: value for key, value in options.items() if key != "target"}
    return Component(options["target"], rest, "--data", slot=SOURCE)
