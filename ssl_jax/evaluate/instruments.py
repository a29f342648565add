"""Probes by what a recipe says of them: a short name, a dotted path, or `dict(target=..., name=..., **options)`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Split
from ssl_jax.objectives.base import Column
from ssl_jax.recipe.component import Component

ROOM = "ssl_jax.evaluate.probes"
PROBES = ("linear", "knn", "fewshot")
Entry = str | Mapping[str, Any]


class Probe(Protocol):
    """A measurement of features. `ssl_jax/evaluate/probes/<name>.py` with a dataclass `Probe` is the probe `<name>`.

    Its fields that are also in `Settings` are set from there, unless the recipe gives them. `columns` are those of the table.
    Optional attributes: `labelled = False` for one that needs no labels; `tokens = True` for one that takes features
    [N, T, D]; `encoders = ("image", "text")` for one that compares what these encoders make of the same records, and finds
    them in `split.towers`.
    """

    columns: tuple[Column, ...]
    protocol: str

    def run(self, split: Split) -> dict[str, Any]:
        """Named numbers (and what explains them), ready for JSON."""
        ...


def probes_of(entries: Iterable[Entry], shared: Mapping[str, Any], allow: tuple[str, ...] = ()) -> dict[str, Probe]:
    """The probes by name. `shared` are the settings that a probe with fields of these names is given.

    Raises:
      UserError: an unknown name, a class that is no probe or was not allowed, or one name for two probes.
    """
    made: dict[str, tuple[Entry, Probe]] = {}
    for entry in entries:
        name = name_of(entry)
        if name in made and made[name][0] != entry:
            raise UserError(
                f"evaluate.probes: two are named {name!r}; give one of them another: dict(..., name='other')"
            )
        if name not in made:
            made[name] = entry, _built(name, entry, shared, allow)
    return {name: probe for name, (_, probe) in made.items()}


def name_of(entry: Entry) -> str:
    """The name of a probe's file in `eval/`: its own, a short one, or that of its class (of the module for a `Probe`)."""
    if isinstance(entry, str) and ":" not in entry:
        return entry
    given = entry if isinstance(entry, Mapping) else {"target": entry}
    module, _, kind = str(given.get("target", "")).partition(":")
    named = module.rpartition(".")[2] if kind == "Probe" else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    name = given.get("name", named)
    if not (isinstance(name, str) and name.isidentifier()):
        raise UserError(
            f"evaluate.probes: {entry!r} has no name; write 'linear', 'package.module:Name' or a dict with both"
        )
    return name


def refusal(probe: Probe, split: Split) -> str | None:
    """Why `probe` cannot measure `split`, or None where it can."""
    parts = {"probe": split.train, "test": split.test}
    bare = [name for name, part in parts.items() if part.y is None]
    if bare and getattr(probe, "labelled", True):
        return f"the {bare[0]} split has no labels; name a labelled source in data.{bare[0]}, and its field in evaluate.label"
    if split.train.x.ndim != 2 and not getattr(probe, "tokens", False):
        return (
            f"the encoder gives {list(split.train.x.shape[1:])} numbers for a record, and this probe takes one row; evaluate an "
            "encoder whose `method` pools them, or use a probe with `tokens = True`"
        )
    return None


def _built(name: str, entry: Entry, shared: Mapping[str, Any], allow: tuple[str, ...]) -> Probe:
    component = _component(name, entry, allow)
    kind = component.resolve()
    taken = {f.name: shared[f.name] for f in fields(kind) if f.name in shared} if is_dataclass(kind) else {}
    probe = Component(component.target, taken | dict(component.options), component.where, component.allow).build()
    if not all(hasattr(probe, part) for part in ("run", "columns", "protocol")):
        raise UserError(
            f"{component.where}: {component.target} is no probe; it needs `columns`, `protocol` and `run(split)`"
        )
    return probe


def _component(name: str, entry: Entry, allow: tuple[str, ...]) -> Component:
    """Of this room, or of an allowed package: no other class of `ssl_jax` measures anything."""
    where = f"evaluate.probes[{name}]"
    if isinstance(entry, str) and ":" not in entry:
        if not (name.isidentifier() and importlib.util.find_spec(f"{ROOM}.{name}")):
            raise UserError(f"evaluate.probes: {name!r} is unknown; use any of {', '.join(PROBES)}")
        return Component(f"{ROOM}.{name}:Probe", {}, where, allow)
    options = {"target": entry} if isinstance(entry, str) else {k: v for k, v in entry.items() if k != "name"}
    target = str(options.pop("target", ""))
    if target.partition(".")[0] == "ssl_jax" and not target.startswith(f"{ROOM}."):
        raise UserError(f"{where}.target={target!r} is no probe; those of ssl_jax are in {ROOM}")
    return Component(target, options, where, allow)
