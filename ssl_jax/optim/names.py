"""What `optimizer.name` and `schedule.name` may say: ours, optax's by one table, and code that the user allowed.

A recipe may come from a stranger, so nothing else of optax can be called by it, and nothing is imported by a name that was
not allowed. The tables hold what a rate, a decay and rules by path can be put around: an optimiser whose update is a
direction times minus the rate and that needs gradients and parameters alone, a schedule that its numbers determine. Where an
optimiser has a momentum behind its rate (RMSprop, Adafactor), the rate comes after it here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optax
import optax.contrib

from ssl_jax.errors import UserError
from ssl_jax.optim.schedules import Schedule, after_warmup
from ssl_jax.recipe.slots import factory_at
from ssl_jax.recipe.values import did_you_mean, typed

Factory = Callable[..., Any]

OPTAX_OPTIMIZERS: Mapping[str, Factory] = {
    **{
        f"optax:{factory.__name__}": factory
        for factory in (
            optax.adabelief, optax.adadelta, optax.adafactor, optax.adagrad, optax.adam, optax.adamax, optax.adamaxw, optax.adamw,
            optax.adan, optax.amsgrad, optax.lion, optax.novograd, optax.optimistic_adam_v2, optax.radam, optax.rmsprop,
            optax.sgd, optax.sign_sgd, optax.signum, optax.sm3, optax.yogi,
        )
    },
    **{
        f"optax.contrib:{factory.__name__}": factory
        for factory in (optax.contrib.ademamix, optax.contrib.adopt, optax.contrib.simplified_ademamix)
    },
    "optax:nadam": optax.nadam,
    "optax:nadamw": optax.nadamw,
}  # fmt: skip
OPTAX_SCHEDULES: Mapping[str, Factory] = {
    f"optax:{factory.__name__}": factory
    for factory in (
        optax.constant_schedule, optax.cosine_decay_schedule, optax.exponential_decay, optax.linear_schedule,
        optax.polynomial_schedule,
    )
}  # fmt: skip
# What other keys of the recipe say, under the names that factories have for it.
OPTIMIZER_NUMBERS = (
    "lr", "learning_rate", "weight_decay", "weight_decay_rate", "weight_decay_mask", "mask", "groups", "no_decay",
)  # fmt: skip
SCHEDULE_NUMBERS = (
    "peak", "total", "warmup", "final", "start",
    "init_value", "value", "end_value", "alpha", "decay_steps", "transition_steps",
)  # fmt: skip


def chosen(
    name: str, key: str, ours: Mapping[str, Factory], theirs: Mapping[str, Factory], allow: Iterable[str]
) -> Factory:
    """The factory that `key` (`optimizer.name`) names. UserError with the nearest names where there is none."""
    known = {**theirs, **ours}
    package, colon, _ = name.rpartition(":")
    if name in known:
        return known[name]
    if colon and package not in ("optax", "optax.contrib"):
        return factory_at(name, key, allow=allow)
    near = f"; did you mean 'optax:{name}'?" if f"optax:{name}" in theirs else did_you_mean(name, known)
    listed = theirs if colon else ours
    others = f"ours ({', '.join(ours)})" if colon else f"optax's, such as {next(iter(theirs))!r}"
    hint = f"{others}, or 'package.module:name' of your own, with --allow package"
    raise UserError(f"{key}={name!r} is unknown{near} Use one of {', '.join(listed)}; or {hint}")


def parameters(factory: Factory, without: Iterable[str] = ()) -> Mapping[str, inspect.Parameter]:
    """The parameters of `factory` that have a name, but for those named in `without`."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(factory).parameters.items()
    return {name: p for name, p in found if p.kind in named and name not in without}


def options(section: Any, factory: Factory, key: str, without: Iterable[str]) -> dict[str, Any]:
    """What `section` sets of the parameters of `factory`: its own fields, where they are not at their default, and `options`.

    A field at its default leaves that of the factory. UserError for an option that the factory does not take, or of
    another type than its default.
    """
    takes, stated = parameters(factory, without), dict(section.options or {})
    for name, value in stated.items():
        if name not in takes:
            raise UserError(
                f"{key}.options.{name}={value!r}: {section.name} has no option {name!r}{did_you_mean(name, takes)} "
                f"Its options: {', '.join(takes) or 'none'}"
            )
    fields = {name: getattr(section, name) for name in takes if hasattr(section, name)}
    changed = {name: value for name, value in fields.items() if value != getattr(type(section), name)}
    return changed | {name: _fits(v, takes[name].default, f"{key}.options.{name}") for name, v in stated.items()}


def _fits(value: Any, default: Any, where: str) -> Any:
    """`value`, checked against the type of `default` where that says one."""
    known = {bool: bool, int: int | float, float: int | float, str: str}
    return typed(value, known.get(type(default), Any), where)


def made(factory: Factory, key: str, name: str, *args: Any, **kwargs: Any) -> Any:
    """`factory(*args, **kwargs)`; UserError with its message where it refuses them."""
    try:
        return factory(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}={name!r} could not be made: {error}; see {key.partition('.')[0]}.options") from error


def direction(factory: Factory, name: str, **kwargs: Any) -> optax.GradientTransformation:
    """The direction of an optimiser that optax's conventions describe: what a rate and minus one are to multiply.

    A `learning_rate` is folded into optax's optimisers, so they are made with the rate 1 and without weight decay, and their
    sign is turned back. What takes no `learning_rate` (`scale_by_...`) is a direction already.
    """
    takes = parameters(factory)
    folded = {"learning_rate": 1.0, "weight_decay": 0.0} if "learning_rate" in takes else {}
    transformation = made(factory, "optimizer.name", name, **{k: v for k, v in folded.items() if k in takes}, **kwargs)
    if not all(callable(getattr(transformation, method, None)) for method in ("init", "update")):
        raise UserError(f"optimizer.name={name!r} made a {type(transformation).__name__}; it must have init and update")
    return optax.chain(transformation, optax.scale(-1.0)) if folded else transformation


def schedule_after_warmup(
    factory: Factory, name: str, peak: float, total: int, warmup: int, final: float, start: float, **kwargs: Any
) -> Schedule:
    """A schedule that optax's names for its numbers describe, behind a linear warm-up from `start`."""
    steps = max(total - warmup, 1)
    numbers = {"init_value": peak, "value": peak, "end_value": final, "alpha": final / peak}
    numbers |= {"decay_steps": steps, "transition_steps": steps}
    takes = parameters(factory)
    schedule = made(factory, "schedule.name", name, **{k: v for k, v in numbers.items() if k in takes} | kwargs)
    return after_warmup(schedule, peak, warmup, start)
