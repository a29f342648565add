"""Phases of a run: which steps each has, and how the state of one becomes that of the next.

Which phase a step is in is a pure function of the recipe, and so is the state at a border, of the state before it. A checkpoint
holds the state of the phase of its last step, and says which that was; a run that resumes at a border crosses it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isqrt
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.checkpoint.store import named
from ssl_jax.errors import UserError
from ssl_jax.models.grid import resize_tokens
from ssl_jax.models.vit import INTERPOLATION_OFFSET
from ssl_jax.recipe import Recipe, plain
from ssl_jax.recipe.phases import borders, in_phase
from ssl_jax.training.step import Setup, TrainState, init_state

Arrays = dict[str, Array]
CARRIED = ("params.", "extra.teacher.", "opt_state.")  # what has to fit
SHOWN = 8  # differences that a refusal lists


class Stretch(NamedTuple):
    """The steps `first` < step <= `end` of a run, which `recipe` trains. Schedules count from `origin` on."""

    name: str
    recipe: Recipe
    first: int
    end: int
    origin: int

    def to_meta(self) -> dict[str, Any]:
        """What a checkpoint says of it, as JSON."""
        return {"name": self.name, "first": self.first, "end": self.end}


def stretches(recipe: Recipe, num_examples: int) -> tuple[Stretch, ...]:
    """Those of a run over `num_examples` records of the recipe's own `data.pretrain`; one without a name where it has no phases.

    Where the schedules of a phase span it alone, its recipe is as long as it is.
    """
    if not recipe.phases:
        return (Stretch("", recipe, 0, recipe.steps(num_examples), 0),)
    ends = borders(recipe, num_examples)
    return tuple(map(_stretch, recipe.phases, (0, *ends), ends))


def _stretch(phase: Any, first: int, end: int) -> Stretch:
    if phase.schedules == "run":
        return Stretch(phase.name, phase.recipe, first, end, 0)
    alone = replace(phase.recipe, total_steps=end - first, total_epochs=None, total_examples=None)
    return Stretch(phase.name, alone, first, end, first)


def stretch_of(plan: Sequence[Stretch], step: int) -> Stretch:
    """The one that trains `step`, the first step being 1; of a state that has seen none, the first."""
    return next((each for each in plan if step <= each.end), plan[-1])


def ahead(plan: Sequence[Stretch], step: int) -> tuple[Stretch, ...]:
    """What a run has before it whose state has seen `step` steps: the stretch of that state, and all that follow."""
    return tuple(plan[plan.index(stretch_of(plan, step)) :])


def alone(config: Mapping[str, Any], recipe: Recipe, num_examples: int) -> dict[str, dict[str, Any]]:
    """Each phase as a recipe for a run of its own, plain, by name: what `plan`, `verify` and `preview` look at."""
    totals = {"total_epochs": None, "total_examples": None}
    return {
        each.name: in_phase(plain(config), each.name) | totals | {"total_steps": each.end - each.first}
        for each in stretches(recipe, num_examples)
        if each.name
    }


def of_checkpoint(recipe: Recipe, meta: Mapping[str, Any]) -> tuple[Recipe, int]:
    """The recipe that trained the state of a checkpoint with this `meta`, and the update from which its schedules count."""
    if not recipe.phases:
        return recipe, 0
    said = meta.get("phase", {})
    phase = next((phase for phase in recipe.phases if phase.name == said.get("name")), None)
    if phase is None:
        raise UserError(f"the checkpoint is of the phase {said.get('name')!r}, which the recipe does not have")
    stretch = _stretch(phase, said["first"], said["end"])
    return stretch.recipe, stretch.origin


def refuse_another_phase(stretch: Stretch, step: int, meta: Mapping[str, Any]) -> None:
    """UserError for a checkpoint of `step` that was made in another phase than `stretch`, or in one that began elsewhere.

    A run without phases may go on as the first of them.
    """
    said = meta.get("phase", {"name": "", "first": 0})
    if said["name"] not in ("", stretch.name) or said["first"] != stretch.first:
        raise UserError(
            f"the checkpoint of step {step} is of the phase {said['name'] or '(none)'!r}, which began after step "
            f"{said['first']}; by this recipe step {step} is in {stretch.name or '(none)'!r}, which begins after step "
            f"{stretch.first}. Restore the phases that lie behind it, or start in another --workdir"
        )


# --- from one to the next


def crossed(setup: Setup, before: TrainState, like: TrainState, batch: Mapping[str, Any]) -> TrainState:
    """The state of the next phase, with `setup`, on the shardings of `like`, of the state that the last one left.

    `before` is given away: arrays that keep their shape keep their memory. `batch` holds shapes and types.
    """
    had, wanted = named(before), named(like)
    same = {k: x for k, x in had.items() if k in wanted and x.shape == wanted[k].shape and x.dtype == wanted[k].dtype}
    others = {k: x for k, x in had.items() if k not in same}
    out = jax.tree.map(lambda x: x.sharding, like)
    cross = jax.jit(partial(crossing, setup, _zeros(batch)), out_shardings=out, donate_argnums=0)
    return jax.block_until_ready(cross(same, others))


def check_crossing(setup: Setup, before: TrainState, batch: Mapping[str, Any]) -> None:
    """UserError if a state shaped like `before` cannot become that of the phase of `setup`. Nothing is computed."""
    jax.eval_shape(partial(crossing, setup), dict(batch), named(before), {})


def crossing(setup: Setup, batch: dict[str, Any], same: Arrays, others: Arrays) -> TrainState:
    """The state with which a phase begins, of the arrays by name of the one before. Pure.

    Parameters, teacher and the optimiser's state come along, square tables of positions resampled; so do counters. Of the rest
    comes what fits, and `Objective.started_from` makes what was not there. Losses of another phase are no measure of a spike:
    `window` is empty.
    """
    fresh, old = init_state(setup, batch), same | others
    new = named(fresh)
    refuse_differences(old, new)
    anew = [name for name in new if name not in old or not _fits(name, old[name], new[name])]
    leaves = [
        x if name in anew or name.startswith("window.") else carried(name, old[name], x) for name, x in new.items()
    ]
    state = jax.tree.unflatten(jax.tree.structure(fresh), leaves)
    entries = frozenset(name.split(".")[1] for name in anew if name.startswith("extra."))
    return state._replace(**setup.objective.started_from(state.params, state.extra, anew=entries)._asdict())


def carried(name: str, old: Array, new: Array) -> Array:
    """`old` in the place of `new`: the same array, or a table of positions [N, D] on another square grid.

    The optimiser's averages are taken from the nearest place, since resampled squares could become negative.
    """
    if old.shape == new.shape:
        return old
    there, here = ((isqrt(x.shape[0]),) * 2 for x in (old, new))
    if name.startswith("opt_state."):
        table = jax.image.resize(old.reshape(*there, -1), (*here, old.shape[1]), "nearest")
        return table.reshape(new.shape)
    return resize_tokens(old.astype(jnp.float32), there, here, INTERPOLATION_OFFSET).astype(new.dtype)


def refuse_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """UserError with the first differences unless what is trained, and how, fits the next phase."""
    names = sorted(name for name in old.keys() | new.keys() if name.startswith(CARRIED))
    show = lambda x: "absent" if x is None else f"{x.dtype}{list(x.shape)}"  # noqa: E731
    changed = [
        f"  {name}: before {show(old.get(name))}, then {show(new.get(name))}"
        for name in names
        if name not in old or name not in new or not _fits(name, old[name], new[name])
    ]
    if changed:
        more = f"\n  and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise UserError(
            "phases: the state of one does not fit the next:\n" + "\n".join(changed[:SHOWN]) + more
            + "\nKeep sizes of model and heads, and the kind of optimiser, through all phases; for others start a run of its own "
            "with init_from"
        )  # fmt: skip


def _fits(name: str, old: Any, new: Any) -> bool:
    if old.shape == new.shape or old.dtype != new.dtype:
        return bool(old.shape == new.shape and old.dtype == new.dtype)
    table = name.endswith(".positions") and old.ndim == new.ndim == 2 and old.shape[1] == new.shape[1]
    return table and all(isqrt(x.shape[0]) ** 2 == x.shape[0] for x in (old, new))


def _zeros(batch: Mapping[str, Any]) -> dict[str, Array]:
    return {name: jnp.zeros(x.shape, x.dtype) for name, x in batch.items()}
