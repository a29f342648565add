"""Phases of a run: each has part of the recipe otherwise, for a while.

    phases=[
        dict(name="small", percent=90),
        dict(name="large", augment=dict(size=96), objective=dict(mask_ratio=0.6), schedules="phase"),
    ]

One follows the other from the first step, and together they are as long as the run: in steps, epochs, examples or percent of
it, and one of them may leave its length out. Everything else in the mapping is put into the recipe, section by section.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.merging import OWN, merged, overrides_of
from ssl_jax.recipe.schema import UNITS, Duration, Phase, Recipe, require
from ssl_jax.recipe.values import did_you_mean, shown, typed

SECTIONS = ("objective", "model", "augment", "data", "optimizer", "schedule")  # what of a recipe a phase may override
FORM = "a sequence of dict(name=..., steps=..., overrides...)"
SPANS = ("run", "phase")


def phases_in(config: Mapping[str, Any], parse: Callable[[dict[str, Any]], Recipe]) -> tuple[Phase, ...]:
    """The phases of a plain recipe, each with the recipe that it trains by, which `parse` makes of the merged mapping.

    Raises UserError for what is no phase, names that occur twice, several without a length, and what `parse` refuses.
    """
    given = config.get("phases", ())
    require(isinstance(given, tuple), "phases", given, FORM)
    found = tuple(_phase(config, each, f"phases[{at}]", parse) for at, each in enumerate(given))
    names = [phase.name for phase in found]
    require(len(set(names)) == len(names), "phases", tuple(names), "phases of different names")
    open_ended = tuple(phase.name for phase in found if phase.length is None)
    require(len(open_ended) < 2, "phases", open_ended, "phases with a length; one of them may take what is left")
    return found


def in_phase(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The plain recipe of the phase of that name, without phases. UserError with the names there are."""
    named = {phase["name"]: phase for phase in config.get("phases", ())}
    if name not in named:
        there = ", ".join(named) or "none"
        raise UserError(f"the recipe has no phase {name!r}{did_you_mean(name, named)} Its phases: {there}")
    return {**merged(config, overrides_of(named[name])), "phases": ()}


def borders(recipe: Recipe, num_examples: int) -> tuple[int, ...]:
    """The last step of each phase, for `num_examples` records of the recipe's own `data.pretrain`.

    Raises UserError unless each phase has a step and they are as long as the run.
    """
    total = recipe.steps(num_examples)
    lengths = [phase.length and recipe.duration(phase.length, num_examples) for phase in recipe.phases]
    left = total - sum(length or 0 for length in lengths)
    steps = [left if length is None else length for length in lengths]
    told = ", ".join(f"{phase.name} {count}" for phase, count in zip(recipe.phases, steps, strict=True))
    if sum(steps) != total or min(steps, default=1) < 1:
        raise UserError(
            f"phases: {told} steps, in a run of {total}; each needs at least one, and together they have to be the run: "
            "leave the length of one of them out, or change the total"
        )
    return tuple(sum(steps[: at + 1]) for at in range(len(steps)))


def _phase(config: Mapping[str, Any], given: Any, where: str, parse: Callable[[dict[str, Any]], Recipe]) -> Phase:
    require(isinstance(given, Mapping), where, given, FORM)
    name = typed(given.get("name"), str, f"{where}.name")
    require(name.isidentifier(), f"{where}.name", name, "a name of letters, digits and underscores")
    for key in given:
        if key not in (*OWN, *SECTIONS):
            known = (*OWN, *SECTIONS)
            raise UserError(
                f"{where} ({name}) has the key {key!r}, which no phase can have{did_you_mean(key, known)} "
                f"A phase has {', '.join(OWN)}, and overrides {', '.join(SECTIONS)}; all else is the whole run's"
            )
    spans = given.get("schedules", "run")
    require(spans in SPANS, f"{where}.schedules", spans, " or ".join(map(repr, SPANS)))
    try:
        recipe = parse({**merged(config, overrides_of(given)), "phases": ()})
    except UserError as error:
        raise UserError(f"{where} ({name}): {error}") from error
    return Phase(name, _length(given, where), spans, recipe)


def _length(given: Mapping[str, Any], where: str) -> Duration | None:
    units: Sequence[str] = [unit for unit in UNITS if given.get(unit) is not None]
    require(len(units) < 2, where, shown(dict(given)), f"of one length, in one of {', '.join(UNITS)}")
    if not units:
        return None
    value = typed(given[units[0]], int | float, f"{where}.{units[0]}")
    require(value > 0, f"{where}.{units[0]}", value, "greater than 0")
    return Duration(value, units[0])
