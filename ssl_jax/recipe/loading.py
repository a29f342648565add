"""`load`: a recipe by path, name or JSON, with `--config.key.sub=value` applied."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ssl_jax.errors import UserError
from ssl_jax.recipe.batch_size import at_batch_size
from ssl_jax.recipe.files import find, run_recipe, split_spec
from ssl_jax.recipe.parsing import complete, parse
from ssl_jax.recipe.renames import renamed
from ssl_jax.recipe.schema import UNITS
from ssl_jax.recipe.sources import PLACES, with_source, with_sources, with_tokenizer
from ssl_jax.recipe.values import did_you_mean, flatten, plain, read_config


def load(spec: str, overrides: Sequence[str] = (), say: Callable[[str], None] = lambda line: None) -> ConfigDict:
    """The recipe that `spec` names, complete with defaults, overridden and validated.

    `spec` is `path/to/recipe.py[:arg]` (executed), a shipped recipe's name `[:arg]`, or a .json file (data only).
    `overrides` are texts like `--config.optimizer.lr=1e-3`. What follows an overridden `batch_size` is told to `say`, a
    line for each number, and overrides of such a number win. Nothing that the recipe names is imported.
    Raises UserError for a file, key or value that does not exist or does not fit.
    """
    name, arg = split_spec(spec)
    path = find(name)
    if path.suffix == ".json":
        if arg:
            raise UserError(f"--config {spec}: a JSON recipe takes no argument; drop ':{arg}'")
        config = read_config(path)
    else:
        config = run_recipe(path, arg)
    if not isinstance(config, ConfigDict | Mapping):
        raise UserError(f"get_config of {path} returned a {type(config).__name__}; return an ml_collections.ConfigDict")
    values = with_tokenizer(overridden(complete(with_sources(renamed(plain(config)), say)), overrides, say))
    parse(values)
    return ConfigDict(values)


def overridden(
    config: Mapping[str, Any], overrides: Sequence[str], say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """A plain recipe after `overrides`, in whatever order: what follows the batch size goes by the rules and numbers that they
    set, and leaves alone what they set.
    """
    wanted, before = plain(config), config.get("batch_size")
    for text in sorted(overrides, key=_of_data):
        override(wanted, text, say)
    if wanted.get("batch_size") == before:
        return wanted
    parse(config)
    parse(wanted)
    set_by_hand = {_key(text) for text in overrides}
    scaled, changes = at_batch_size(wanted | {"batch_size": before}, wanted["batch_size"], set_by_hand)
    for change in changes:
        say(str(change))
    return scaled


def _of_data(text: str) -> bool:
    """Whether it is one of `data`, which come last: a source that a string names takes options from the other sections."""
    return _key(text).startswith("data.")


def _key(text: str) -> str:
    return text.partition("=")[0].removeprefix("--").removeprefix("config.")


def override(config: dict[str, Any], text: str, say: Callable[[str], None] = lambda line: None) -> None:
    """Set one key of a plain recipe, in place, from `--config.key.sub=value`.

    The value is read as the type of the one that is there. A duration may change its unit (`total_epochs` replaces
    `total_steps`). An option that a component does not state yet may be added; `Component.build` checks its name.
    A string at a place for sources is one (`recipe/sources.py`).
    """
    _, equals, value = text.partition("=")
    path = _key(text)
    if not equals or not path:
        raise UserError(f"{text!r}: write an override as --config.key.sub=value")
    if path in PLACES and value != "None" and isinstance(config.get("data"), dict):
        config["data"] = with_source(config, path, value, say)
        return
    *parents, key = path.split(".")
    section: Any = config
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    if not isinstance(section, dict):
        raise _unknown(path, config)
    stem, _, unit = key.rpartition("_")
    siblings = [f"{stem}_{u}" for u in UNITS if f"{stem}_{u}" in section] if unit in UNITS else []
    if key not in section and not siblings and ("target" not in section or not key.isidentifier()):
        total = not parents and stem == "total" and unit in UNITS
        if not total:
            raise _unknown(path, config)
    current = next((section[k] for k in (key, *siblings) if section.get(k) is not None), None)
    section[key] = read_value(value, current, text)
    for sibling in siblings:
        if sibling != key:
            del section[sibling]


def _unknown(path: str, config: dict[str, Any]) -> UserError:
    keys = list(flatten(config))
    sections = {k.rpartition(".")[0] for k in keys if "." in k}
    parent = path.rpartition(".")[0]
    inside = sorted(k.removeprefix(parent + ".") for k in keys if parent and k.startswith(parent + "."))
    known = f" Keys of {parent}: {', '.join(inside)}" if inside else f" Top-level keys: {', '.join(config)}"
    anywhere = [*keys, *sorted(sections), *(f"total_{unit}" for unit in UNITS if unit != "percent")]
    return UserError(f"unknown config key {path!r}{did_you_mean(path, dict.fromkeys(anywhere))}{known}")


def read_value(text: str, current: Any, source: str) -> Any:
    """`text` as the type of `current`. `None` and integers for floats always pass; a tuple may be written `a,b`.

    Raises UserError naming `source` (the override as typed) and the type that was expected.
    """
    if text == "None":
        return None
    if isinstance(current, dict):
        raise UserError(f"{source}: this is a section; set one of its keys: {', '.join(current)}")
    if isinstance(current, str):
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        return text[1:-1] if quoted else text
    if isinstance(current, tuple):
        return _tuple(text, current)
    if isinstance(current, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"{source}: expected True or False (now {current})")
    value = _literal(text)
    if current is None:
        return text if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{source}: expected a number (now {current})")
    if isinstance(current, float):
        return float(value)
    return int(value) if float(value).is_integer() else value  # 1e6 is a fine way to write a number of steps


def _tuple(text: str, current: tuple[Any, ...]) -> tuple[Any, ...]:
    value = _literal(text)
    if value is None:
        words = text.strip("()[]").split(",")
        value = tuple(w.strip().strip("'\"") for w in words if w.strip())
    elif isinstance(current and current[0], float) and isinstance(value, tuple):
        value = tuple(float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in value)
    return value if isinstance(value, tuple) else (value,)


def _literal(text: str) -> Any:
    """A Python literal with lists as tuples, or None where `text` is not one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, UserError):
        return None
