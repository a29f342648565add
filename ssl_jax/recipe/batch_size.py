"""Another batch size, the same method: what follows `batch_size` when an override changes it.

A recipe is written for the batch size in its file. `batch_rules`, (path, rule), say which of its numbers depend on it; a
path that a recipe does not state is left alone. With `k = new batch size / old one`:

* `ema`: the momentum m of a moving average becomes `m ** k`, so that it forgets as much an example (Busbridge, Ramapuram,
  Ablin et al. 2023, "How to Scale Your EMA", arXiv 2307.13813, definition 1.2). Of a pair, both.
* `queue`: the same number of rows, or the nearest multiple of the batch.
* `groups`: a number of logical groups times k, so that they keep their size. Words ("separate") stay.
* `share_of_sum`: the share w of a term that grows with the batch becomes that with `w / (1 - w)` divided by k.

No rule needs to name what follows by its unit or by keys of its own: durations in steps (the run, the warm-up, those of
`optimizer.groups`) are divided by k; a learning rate without `reference_batch` is scaled by `optimizer.scaling`, and one with
it when the run starts (`Optimizer.scaled_lr`). Durations in examples, epochs and percent, and shares of the run, as the
warm-up of a teacher's temperature, need no change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from ssl_jax.recipe.component import option_places
from ssl_jax.recipe.merging import merged, overrides_of

BATCH_RULES = (
    ("objective.momentum", "ema"),
    ("objective.centre_momentum", "ema"),
    ("objective.gram_momentum", "ema"),
    ("objective.queue", "queue"),
    ("objective.bn", "groups"),
    ("objective.koleo_groups", "groups"),
    ("model.drop_path_groups", "groups"),
)
STEP_COUNTS = ("total_steps", "schedule.warmup_steps")


class Change(NamedTuple):
    """One number of a recipe that followed the batch size."""

    key: str
    old: Any
    new: Any
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.old)} -> {_shown(self.new)}: {self.why}"


def at_batch_size(
    config: Mapping[str, Any], batch_size: int, kept: Collection[str] = ()
) -> tuple[dict[str, Any], list[Change]]:
    """The plain recipe `config`, complete with defaults, at another batch size, and what changed besides it.

    Numbers at the paths `kept` stay as they are: those that the user set for the new size.
    """
    old = config["batch_size"]
    if batch_size == old:
        return dict(config), []
    k = Fraction(batch_size, old)
    proposals = [
        *_rate(config, k),
        *_durations(config, k),
        *_ruled(config, k, batch_size),
        *_phases(config, k, batch_size),
    ]
    changes = [change for change in proposals if change.new != change.old and change.key not in kept]
    scaled = {**config, "batch_size": batch_size}
    for change in changes:
        scaled = _with(scaled, change.key.split("."), change.new)
    told = f"batch_size {old} -> {batch_size}"
    return scaled, [change._replace(why=f"{change.why}, {told}") for change in changes]


# --- what follows by itself


def _rate(config: Mapping[str, Any], k: Fraction) -> list[Change]:
    optimizer = config["optimizer"]
    if optimizer["reference_batch"] is not None:
        return []
    factor = float(k) if optimizer["scaling"] == "linear" else math.sqrt(k)
    return [Change("optimizer.lr", optimizer["lr"], optimizer["lr"] * factor, f"{optimizer['scaling']} rule")]


def _durations(config: Mapping[str, Any], k: Fraction) -> list[Change]:
    why = "the same number of examples"
    counts = ((path, _at(config, path)) for path in STEP_COUNTS)
    changes = [Change(path, count, _steps(count, k), why) for path, count in counts if count is not None]
    groups = config["optimizer"]["groups"]
    scaled = tuple((pattern, {key: _group(key, value, k) for key, value in rule.items()}) for pattern, rule in groups)
    return [*changes, Change("optimizer.groups", groups, scaled, why)]


def _group(key: str, value: float, k: Fraction) -> float:
    return _steps(value, k) if key.endswith("_steps") else value


def _steps(count: float, k: Fraction) -> int:
    return math.ceil(Fraction(str(count)) / k)


def _phases(config: Mapping[str, Any], k: Fraction, batch_size: int) -> list[Change]:
    """Each phase's own length in steps, and what it overrides, by the same rules."""
    phases = config.get("phases", ())
    scaled = tuple(_phase(config, phase, k, batch_size) for phase in phases)
    return [Change("phases", phases, scaled, "their numbers by the same rules")] if phases else []


def _phase(config: Mapping[str, Any], phase: Mapping[str, Any], k: Fraction, batch_size: int) -> dict[str, Any]:
    over = overrides_of(phase)
    whole, _ = at_batch_size({**merged(config, over), "phases": ()}, batch_size)
    length = {"steps": _steps(phase["steps"], k)} if phase.get("steps") is not None else {}
    return {**phase, **_picked(whole, over), **length}


def _picked(whole: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """What `whole` has where `over` has something."""
    nested = lambda key: isinstance(over[key], Mapping) and isinstance(whole[key], Mapping)  # noqa: E731
    return {key: _picked(whole[key], over[key]) if nested(key) else whole[key] for key in over}


# --- what the rules name


def _ruled(config: Mapping[str, Any], k: Fraction, batch_size: int) -> list[Change]:
    paths = ((path, rule) for named, rule in config["batch_rules"] for path in option_places(config, named))
    found = ((path, _at(config, path), rule) for path, rule in paths)
    return [
        Change(path, value, RULES[rule](value, k, batch_size), REASONS[rule])
        for path, value, rule in found
        if value is not None
    ]


def _ema(momentum: Any, k: Fraction, batch_size: int) -> Any:
    if isinstance(momentum, tuple):
        return tuple(_ema(m, k, batch_size) for m in momentum)
    return momentum ** float(k)


def _queue(rows: int, k: Fraction, batch_size: int) -> int:
    return max(round(rows / batch_size), 1) * batch_size if rows else 0


def _groups(groups: Any, k: Fraction, batch_size: int) -> Any:
    if isinstance(groups, str):
        return groups
    return max((n for n in range(1, math.floor(groups * k) + 1) if batch_size % n == 0), default=1)


def _share_of_sum(share: float, k: Fraction, batch_size: int) -> float:
    return share / (share + (1 - share) * float(k))


RULES: dict[str, Callable[[Any, Fraction, int], Any]] = {
    "ema": _ema,
    "queue": _queue,
    "groups": _groups,
    "share_of_sum": _share_of_sum,
}
REASONS = {
    "ema": "the same memory in examples (m ** k)",
    "queue": "a multiple of the batch",
    "groups": "groups of the same size",
    "share_of_sum": "its term grows with the batch",
}

# --- paths


def _at(config: Mapping[str, Any], path: str) -> Any:
    """What `config` holds at a dotted path, or None."""
    found: Any = config
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _with(config: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    name, *deeper = path
    return {**config, name: _with(config[name], deeper, value) if deeper else value}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(_shown(v) for v in value) + ")"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
