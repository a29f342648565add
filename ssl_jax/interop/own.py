"""Our own names: any encoder of ours, whose config.json holds its `model` section."""

from __future__ import annotations

from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.shapes import built, wanted
from ssl_jax.recipe.values import plain

MODEL_TYPE = "ssl_jax"
SPARE = ("mask_token",)  # what a module has only where it was given masks


def rules(model: Model) -> tuple[Rule, ...]:
    """Every array by its path."""
    return tuple(rule(path, path) for path in (*wanted(built(model), channels=1), *SPARE))


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section, as config.json has it."""
    section = plain(facts.config.get("model", {}))
    if not isinstance(section, dict) or not isinstance(section.get("target"), str):
        raise UserError("config.json has no section `model` with a target; export the run again")
    return section


def pixels(facts: Facts) -> dict[str, Any]:
    """Mean and standard deviation, as they were trained with."""
    given = facts.config.get("pixels") or {}
    return {key: tuple(given[key]) for key in ("mean", "std") if key in given}


OWN = Family(
    "ssl_jax",
    "any encoder of ours, as `ssl-jax export --format safetensors` writes it",
    (),
    model,
    rules,
    types=(MODEL_TYPE,),
    pixels=pixels,
)
