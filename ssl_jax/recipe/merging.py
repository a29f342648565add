"""What a phase puts into a recipe, as plain mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNITS = ("steps", "epochs", "examples", "percent")
OWN = ("name", "schedules", *UNITS)  # what a phase has itself; all else it overrides


def overrides_of(phase: Mapping[str, Any]) -> dict[str, Any]:
    """What a phase puts into the recipe."""
    return {key: value for key, value in phase.items() if key not in OWN}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` put into `base`, mapping by mapping.

    A component of another target takes nothing from the one before, and a duration takes the place of that in another unit.

    >>> merged({"a": {"b": 1, "c_steps": 2}}, {"a": {"c_epochs": 3}})
    {'a': {'b': 1, 'c_epochs': 3}}
    """
    if over.get("target", base.get("target")) != base.get("target"):
        return dict(over)
    kept = {key: value for key, value in base.items() if not _other_unit(key, over)}
    both = lambda key: isinstance(kept.get(key), Mapping) and isinstance(over[key], Mapping)  # noqa: E731
    return kept | {key: merged(kept[key], over[key]) if both(key) else over[key] for key in over}


def _other_unit(key: str, over: Mapping[str, Any]) -> bool:
    stem, _, unit = key.rpartition("_")
    return unit in UNITS and any(f"{stem}_{other}" in over for other in UNITS if other != unit)
