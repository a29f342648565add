"""The learning rate of a recipe, and what is told when a run goes on with another one.

A schedule that ends at `total_steps` (cosine) has a low rate where a run ended. With a longer total the same step lies in the
middle of it, and the rate jumps up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from ssl_jax.errors import UserError
from ssl_jax.optim import optimizers
from ssl_jax.optim.schedules import Schedule
from ssl_jax.recipe import Recipe, from_json, parse

SAME = 1e-6  # rates closer than this, relatively, are the same
EXTEND = (
    "To extend a run at the rate it has, train with schedule.name=wsd and go on from a checkpoint before its decay "
    '(docs/reliability.md, "Longer than planned")'
)


class Plan(NamedTuple):
    """What a learning rate hangs on, in steps; `rate` is a function of the number of updates."""

    peak: float
    warmup: int
    total: int
    schedule: str
    rate: Schedule

    def at(self, updates: int) -> float:
        """The rate of the update after so many."""
        return float(self.rate(jnp.asarray(updates)))


def plan_of(recipe: Recipe, num_examples: int) -> Plan:
    """That of a recipe for a source of `num_examples` records."""
    peak, _ = recipe.optimizer.scaled_lr(recipe.batch_size)
    total, warmup = recipe.steps(num_examples), recipe.duration(recipe.schedule.warmup, num_examples)
    section, allow = recipe.schedule, recipe.objective.allow
    return Plan(peak, warmup, total, section.name, optimizers.schedule_of(section, peak, total, warmup, allow))


def plan_before(saved: str, recipe: Recipe, num_examples: int) -> Plan | None:
    """That of the recipe `saved` beside a checkpoint; None if it is none of today's."""
    try:
        return plan_of(parse(from_json(saved), allow=recipe.objective.allow), num_examples)
    except UserError:
        return None


def told(before: Plan, now: Plan, step: int, updates: int) -> tuple[str, bool]:
    """What a run says that goes on after `step` by another plan, "" where the plan is the same; and whether the rate moves."""
    moved = _moved(before, now)
    last, planned, new = before.at(max(updates - 1, 0)), before.at(updates), now.at(updates)
    jumps = abs(planned - new) > SAME * max(abs(planned), abs(new))
    if not moved and not jumps:
        return "", False
    what = f"the learning rate of step {step + 1} is {new:.2e}"
    what += (
        f", after {last:.2e} at step {step} (the plan so far: {planned:.2e})" if jumps else ", as by the plan so far"
    )
    changed = ", ".join(f"{name} {a} -> {b}" for name, (a, b) in moved.items()) or "options of the schedule"
    return f"{what}. Changed: {changed}. Constant: {_constant(moved)}" + (f". {EXTEND}" if jumps else ""), jumps


def _moved(before: Plan, now: Plan) -> dict[str, tuple[Any, Any]]:
    pairs = {
        "schedule": (before.schedule, now.schedule),
        "peak rate": (f"{before.peak:.3g}", f"{now.peak:.3g}"),
        "warm-up steps": (before.warmup, now.warmup),
        "total steps": (before.total, now.total),
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _constant(moved: dict[str, tuple[Any, Any]]) -> str:
    rest = [name for name in ("schedule", "peak rate", "warm-up steps", "total steps") if name not in moved]
    if "total steps" in moved:
        end = "(weight decay and the objective's own schedules follow the new total)"
        return ", ".join([*rest, f"parameters, the optimiser's state, batch size and order of examples {end}"])
    return ", ".join([*rest, "parameters, the optimiser's state, batch size and order of examples"])
