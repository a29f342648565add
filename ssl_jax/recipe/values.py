"""What a recipe may hold: numbers, strings, booleans, None, tuples and dicts of them; checked, and written as JSON."""

from __future__ import annotations

import difflib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from ssl_jax.errors import UserError
from ssl_jax.recipe.renames import renamed


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """How to end a sentence about an unknown `word`: `"; did you mean 'x'?"` with the nearest of `known`, else `"."`.

    Dotted paths with the same last part come first, then near spellings of the whole, then of the last part.
    """
    known = list(known)
    last = lambda path: path.rpartition(".")[2].lower()  # noqa: E731
    near = [k for k in known if last(k) == last(word) and k != word]
    for part in (str.lower, last):
        if not near:
            named = {part(k): k for k in reversed(known)}
            near = [named[k] for k in difflib.get_close_matches(part(word), named, n=1, cutoff=0.7)]
    return f"; did you mean {' or '.join(repr(k) for k in near[:2])}?" if near else "."


def plain(value: Any, where: str = "config") -> Any:
    """`value` with every mapping a dict and every sequence a tuple.

    Raises UserError for anything that is not data (functions, arrays, objects) or that JSON cannot say (nan, inf).
    """
    if isinstance(value, Mapping | ConfigDict):
        return {_text_key(k, where): plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return tuple(plain(v, f"{where}[{i}]") for i, v in enumerate(value))
    if not isinstance(value, bool | int | float | str | None) and getattr(value, "shape", None) == ():
        value = value.item()  # a numpy scalar
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}={value} cannot be written as JSON; use None, or a large finite number")
    if not isinstance(value, bool | int | float | str | None):
        raise UserError(
            f"{where} holds a {type(value).__name__}; a recipe holds only numbers, strings, booleans, None, tuples and "
            "dicts of them. Name a class as 'package.module:Name'"
        )
    return value


def _text_key(key: Any, where: str) -> str:
    if isinstance(key, str) and "." not in key:
        return key
    raise UserError(f"{where} has the key {key!r}; keys are strings without dots")


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts -> `{"optimizer.lr": 0.001, ...}`. Tuples and empty dicts are leaves."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping | ConfigDict) and len(item):
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def to_json(config: ConfigDict | Mapping[str, Any]) -> str:
    """A recipe as indented JSON; tuples are arrays. `from_json` gives back exactly what `load` gave."""
    return json.dumps(plain(config), indent=2, allow_nan=False) + "\n"


def from_json(text: str, name: str = "config.json") -> ConfigDict:
    """Inverse of `to_json`: arrays become tuples, and classes that moved get their new path. Data only, nothing is executed.

    UserError if it is not a recipe.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{name} is not valid JSON ({error}); restore it, or start in another --workdir") from error
    if not isinstance(value, dict):
        raise UserError(f"{name} holds a {type(value).__name__}; a recipe is a JSON object {{...}}")
    return ConfigDict(renamed(plain(value)))


_NAMES = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a string",
    tuple: "a tuple",
    dict: "a dict",
}


def typed(value: Any, hint: Any, where: str) -> Any:
    """`value` checked against the type annotation `hint`; integers become floats where a float is meant.

    Annotations beyond bool, int, float, str, tuple, dict, None and unions of them are not checked.
    Raises UserError naming `where`, the value and what was expected.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _typed_union(value, args, where)
    kind = origin or hint
    if kind is types.NoneType:
        ok = value is None
    elif kind is float:
        ok = isinstance(value, int | float) and not isinstance(value, bool)
    elif kind is int:
        ok = isinstance(value, int) and not isinstance(value, bool)
    else:
        ok = kind not in (bool, str, tuple, dict) or isinstance(value, kind)
    if not ok:
        raise UserError(f"{where}={value!r}: expected {_NAMES.get(kind, 'None')}")
    if kind is tuple and len(args) == 2 and args[1] is Ellipsis:
        return tuple(typed(v, args[0], f"{where}[{i}]") for i, v in enumerate(value))
    return float(value) if kind is float else value


def _typed_union(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    for hint in hints:
        try:
            return typed(value, hint, where)
        except UserError:
            continue
    names = [_NAMES.get(typing.get_origin(h) or h, "None") for h in hints]
    raise UserError(f"{where}={value!r}: expected {' or '.join(names)}")
