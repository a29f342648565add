"""Runs as they are compared: those that differ in nothing but their seed are one group."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe import flatten
from ssl_jax.recipe.renames import renamed, with_added_keys
from ssl_jax.report.record import Record, read


@dataclass(frozen=True, eq=False)
class Run:
    """A run directory that was read, under the `name` that tells it from the others."""

    name: str
    record: Record

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The whole recipe, key by key, but for the seed."""
        return {key: value for key, value in self.settings.items() if key != "seed"}

    @property
    def settings(self) -> Mapping[str, Any]:
        """The whole recipe, key by key, in today's words."""
        return flatten(with_added_keys(renamed(dict(self.record.config))))

    @property
    def seed(self) -> Any:
        """What was drawn by."""
        return self.record.config.get("seed")

    @property
    def batch(self) -> int:
        """Examples in a step."""
        return int(self.record.config.get("batch_size") or 0)

    @property
    def devices(self) -> int:
        """How many it was trained on; 1 where that is not known."""
        return sum((self.record.env.get("devices") or {}).values()) or 1


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one recipe on the same data, each with a seed of its own."""

    name: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """Of which pictures are drawn."""
        return self.runs[0]

    @property
    def seeds(self) -> tuple[Any, ...]:
        """In the order of the runs."""
        return tuple(run.seed for run in self.runs)


def opened(folders: Sequence[tuple[str, Path]]) -> list[Run]:
    """The runs that the words of the command line name. UserError for one that is named twice."""
    places = [os.path.realpath(folder) for _, folder in folders]
    for (word, _), place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{word} is named twice; a run is compared with others")
    names = distinct([word for word, _ in folders])
    return [Run(name, read(folder)) for name, (_, folder) in zip(names, folders, strict=True)]


def distinct(words: Sequence[str]) -> list[str]:
    """The shortest ends of paths that tell them apart: `runs/a`, `runs/b` -> `a`, `b`."""
    parts = [os.path.normpath(word).split("/") for word in words]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(words)


def grouped(runs: Sequence[Run]) -> list[Group]:
    """The groups, in the order of their first runs. A repetition with the same seed says nothing new: it stands alone."""
    found: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        kind = json.dumps([run.recipe, run.record.env.get("data")], sort_keys=True, default=str)
        place = 0
        while run.seed in [other.seed for other in found.get((kind, place), ())]:
            place += 1
        found.setdefault((kind, place), []).append(run)
    return [Group(_name(several), tuple(several)) for several in found.values()]


def _name(runs: Sequence[Run]) -> str:
    if len(runs) < 3:
        return ", ".join(run.name for run in runs)
    return f"{runs[0].name} to {runs[-1].name}"


def differences(groups: Sequence[Group]) -> dict[str, tuple[Any, ...]]:
    """Key -> its value in each group, for the keys of recipes in which they differ; a key that one lacks is None there."""
    recipes = [group.first.recipe for group in groups]
    keys = sorted({key for recipe in recipes for key in recipe})
    values = {key: tuple(recipe.get(key) for recipe in recipes) for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}
