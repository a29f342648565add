"""ConfigDict -> the frozen dataclasses of `schema.py`, once, at the door: unknown, missing and wrong keys are told here."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ssl_jax.errors import UserError
from ssl_jax.recipe.component import Component, Components, components_in
from ssl_jax.recipe.phases import phases_in
from ssl_jax.recipe.schema import UNITS, Duration, Recipe, require
from ssl_jax.recipe.slots import SLOTS, inside
from ssl_jax.recipe.sources import with_sources
from ssl_jax.recipe.values import did_you_mean, plain, shown, typed


def parse(config: ConfigDict | Mapping[str, Any], allow: tuple[str, ...] = ()) -> Recipe:
    """The validated recipe. Its components may come from `ssl_jax` and the packages in `allow`; none is imported yet.

    Raises UserError for unknown keys (with the nearest known one), missing keys, wrong types and values out of range.
    """
    values = with_sources(plain(config))
    recipe = _section(Recipe, values, "", Code(tuple(allow), modules_needed(values)))
    return dataclasses.replace(recipe, phases=phases_in(values, partial(parse, allow=allow)))


class Code(NamedTuple):
    """The modules outside of ssl_jax that a recipe may import, and those that it names."""

    allow: tuple[str, ...]
    needed: tuple[str, ...]


def modules_needed(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules outside of ssl_jax that a plain recipe names, each once: of components, optimiser, schedule and probes."""
    by_name = (_at(config, "optimizer", "name"), _at(config, "schedule", "name"), *_probes(config))
    targets = [*(found["target"] for found in components_in(config)), *(n for n in by_name if isinstance(n, str))]
    modules = (target.partition(":")[0] for target in targets if ":" in target)
    return tuple(dict.fromkeys(m for m in modules if not inside(m, ("ssl_jax", "optax"))))


def _at(config: Mapping[str, Any], section: str, key: str) -> Any:
    found = config.get(section)
    return found.get(key) if isinstance(found, Mapping) else None


def _probes(config: Mapping[str, Any]) -> tuple[Any, ...]:
    found = _at(config, "evaluate", "probes")
    return found if isinstance(found, tuple) else ()


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` (plain) with the default of every key that it leaves out, so that what was run is written in full."""
    return _completed(Recipe, config)


def _completed(section: type, given: Mapping[str, Any]) -> dict[str, Any]:
    full, hints = dict(given), typing.get_type_hints(section)
    for f in dataclasses.fields(section):
        if dataclasses.is_dataclass(hints[f.name]) and hints[f.name] not in (Component, Duration):
            if isinstance(full.setdefault(f.name, {}), Mapping):
                full[f.name] = _completed(hints[f.name], full[f.name])
        elif isinstance(f.default, Duration):
            if not any(f"{f.name}_{unit}" in full for unit in UNITS):
                full[f"{f.name}_{f.default.unit}"] = f.default.value
        elif f.default is not dataclasses.MISSING and not f.name.startswith("total_"):
            full.setdefault(f.name, f.default)
    return full


def _section(section: Any, given: Mapping[str, Any], path: str, code: Code) -> Any:
    hints = typing.get_type_hints(section)
    fields = {key: _field(key, hints) for key in given}
    for key, (name, _) in fields.items():
        if not name:
            known = [k for n, h in hints.items() for k in ([f"{n}_{u}" for u in UNITS] if h is Duration else [n])]
            near = did_you_mean(path + key, [path + k for k in known])
            raise UserError(f"unknown config key {path + key!r}{near} Known here: {', '.join(known)}")
    for f in dataclasses.fields(section):
        if f.default is dataclasses.MISSING and f.name not in given:
            raise UserError(f"the recipe has no {path}{f.name}; add it (`ssl-jax recipes` lists recipes that have it)")
    values: dict[str, Any] = {}
    for key, (name, unit) in fields.items():
        where = path + key
        if unit is None:
            values[name] = _value(given[key], hints[name], where, code)
        elif given[key] is not None:
            if name in values:
                raise UserError(f"{path}{name}_{values[name].unit} and {where} are both set; give one of them")
            number = typed(given[key], int | float, where)
            require(number >= 0, where, number, "0 or more")
            values[name] = Duration(number, unit)
    return section(**values)


def _field(key: str, hints: Mapping[str, Any]) -> tuple[str, str | None]:
    """The field that `key` sets ("": none) and, where the field is a duration, the unit in the key."""
    stem, _, unit = key.rpartition("_")
    if unit in UNITS and hints.get(stem) is Duration:
        return stem, unit
    return (key, None) if key in hints and hints[key] is not Duration else ("", None)


def _value(value: Any, hint: Any, where: str, code: Code) -> Any:
    if value is None and types.NoneType in typing.get_args(hint):
        return None
    kinds = [a for a in typing.get_args(hint) or (hint,) if dataclasses.is_dataclass(a)]
    if not kinds:
        return typed(value, hint, where)
    if not isinstance(value, Mapping):
        raise UserError(f"{where}={shown(value)}: expected a section, e.g. {where} = dict(...)")
    if Components in kinds and _holds_sections(value):
        named = {name: _component(part, f"{where}.{name}", where, code) for name, part in value.items()}
        return Components(named)
    if Component in kinds:
        return _component(value, where, where, code)
    return _section(kinds[0], value, where + ".", code)


def _holds_sections(value: Mapping[str, Any]) -> bool:
    """Whether a section names several components: it has no `target` and holds nothing but sections."""
    return "target" not in value and bool(value) and all(isinstance(part, Mapping) for part in value.values())


def _component(value: Mapping[str, Any], where: str, slot: str, code: Code) -> Component:
    options = dict(value)
    target = options.pop("target", None)
    if not isinstance(target, str):
        raise UserError(f"{where}.target={shown(target)}: name a class as 'package.module:Name'")
    name = where.removeprefix(slot + ".")
    require(name == where or name.isidentifier(), where, name, "a name of letters, digits and underscores")
    return Component(target, options, where, code.allow, SLOTS[slot], code.needed)
