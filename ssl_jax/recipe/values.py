"""What a recipe may hold: numbers, strings, booleans, None, tuples and dicts of them; checked, and written as JSON."""

from __future__ import annotations

import difflib
import errno
import json
import math
import os
import stat
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ssl_jax.errors import UserError
from ssl_jax.recipe.renames import renamed

# What other trainers call a key -> what it is called here.
SYNONYMS = {
    "base_lr": "lr", "learning_rate": "lr", "wd": "weight_decay", "beta1": "b1", "beta2": "b2", "epsilon": "eps",
    "grad_clip": "clip", "clip_norm": "clip", "max_grad_norm": "clip", "gradient_clip": "clip",
    "gradient_accumulation": "accumulation", "accumulate": "accumulation", "optim": "optimizer", "optimiser": "optimizer",
    "steps": "total_steps", "max_steps": "total_steps", "num_steps": "total_steps", "train_steps": "total_steps",
    "iterations": "total_steps", "epochs": "total_epochs", "max_epochs": "total_epochs", "num_epochs": "total_epochs",
    "examples": "total_examples", "samples": "total_examples", "bs": "batch_size", "batch": "batch_size",
    "global_batch_size": "batch_size", "random_seed": "seed", "num_workers": "threads", "workers": "threads",
    "encoder": "model", "backbone": "model", "arch": "model", "augmentation": "augment", "transform": "augment",
}  # fmt: skip


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """How to end a sentence about an unknown `word`: `"; did you mean 'x'?"` with the nearest of `known`, else `"."`.

    What is called so elsewhere, or by other trainers, comes first (`called_here`), then near spellings of the whole, `most` of
    them, then of the last part.
    """
    known = list(known)
    near = called_here(word, known)
    for part in (str.lower, _last):
        if not near:
            named = {part(k): k for k in reversed(known)}
            near = [named[k] for k in difflib.get_close_matches(part(word), named, n=most, cutoff=0.7)]
    return f"; did you mean {' or '.join(repr(k) for k in near[: max(2, most)])}?" if near else "."


def called_here(word: str, known: Iterable[str]) -> list[str]:
    """The dotted paths among `known` whose last part is that of `word`, or what other trainers' name for it is here."""
    others = [k for k in known if k != word]
    wanted = [_last(word), SYNONYMS.get(_last(word))]
    return next((same for name in wanted if (same := [k for k in others if _last(k) == name])), [])


def _last(path: str) -> str:
    return path.rpartition(".")[2].lower()


def shown(value: Any, most: int = 200) -> str:
    """`repr(value)` as a message shows it: the middle of a long one is left out."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 4 :]}"


DEEPEST = 64  # mappings and sequences in one another; the functions that read a recipe call themselves for each
LONGEST_KEY = 200


def plain(value: Any, where: str = "config", depth: int = 0) -> Any:
    """`value` with every mapping a dict and every sequence a tuple.

    Raises UserError for anything that is not data (functions, arrays, objects), that JSON cannot say (nan, inf), or that is
    nested more deeply than any recipe.
    """
    if depth > DEEPEST:
        raise UserError(f"{where[:200]}... is nested more than {DEEPEST} deep; no recipe is")
    if isinstance(value, Mapping | ConfigDict):
        return {_text_key(k, where): plain(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return tuple(plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value))
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
    if isinstance(key, str) and "." not in key and len(key) <= LONGEST_KEY and not hasattr(object, key):
        return key
    raise UserError(
        f"{where} has the key {shown(key)}; keys are strings without dots, of {LONGEST_KEY} characters at most"
    )


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
    return as_config(parsed_json(text, name, _RESTORE), name)


def read_config(path: Path) -> ConfigDict:
    """The recipe in a file that `to_json` wrote. UserError where it cannot be read or is none."""
    return as_config(read_json(path, _RESTORE), str(path))


_RESTORE = "; restore it, or start in another --workdir"


def as_config(value: Any, name: str) -> ConfigDict:
    """What was read from JSON, as a recipe. UserError, with the `name` of where it was, if it is none."""
    if not isinstance(value, dict):
        raise UserError(f"{name} holds a {type(value).__name__}; a recipe is a JSON object {{...}}")
    return ConfigDict(renamed(plain(value)))


LARGEST_JSON = 64 * 2**20  # bytes; the table of a large evaluation has a hundredth of that


def read_json(path: Path, remedy: str = "") -> Any:
    """The value in a JSON file: the one way to read one that others may have changed.

    UserError, with `remedy` at its end, for a file that cannot be read, is no regular file, is too large, or holds no JSON.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            text = file.read(LARGEST_JSON + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}{remedy}") from error
    return parsed_json(text, str(path), remedy)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO of that name would wait for who writes to it


def parsed_json(text: str | bytes, name: str, remedy: str = "") -> Any:
    """The value that a JSON text says, of any depth up to `DEEPEST` and size up to `LARGEST_JSON`. UserError for others."""
    try:
        if len(text) > LARGEST_JSON:
            raise ValueError(f"more than {LARGEST_JSON:,} bytes")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not valid JSON ({error}){remedy}") from error
    if _depth(value) > DEEPEST:
        raise UserError(
            f"{name} is nested more than {DEEPEST} deep; no recipe is, nor anything else that is written here{remedy}"
        )
    return value


def _depth(value: Any) -> int:
    """How many objects and arrays lie in one another, without a call for each."""
    depth, level = 0, [value]
    while level := [item for outer in level if isinstance(outer, dict | list) for item in _items(outer)]:
        depth += 1
    return depth


def _items(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def fits(value: Any, shape: Any) -> bool:
    """Whether plain data has a shape: a type, `(type, ...)` for either, `[shape]` for a list of them, `{str: shape}` for an
    object of them, or `{"key": shape}` for an object that has these keys at least; `"key?"` for one that may be missing.

    >>> fits({"ids": [1, 2], "more": None}, {"ids": [int], "name?": str})
    True
    """
    if isinstance(shape, list):
        return isinstance(value, list | tuple) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, dict) and str in shape:
        return isinstance(value, Mapping) and all(fits(item, shape[str]) for item in value.values())
    if isinstance(shape, dict):
        return isinstance(value, Mapping) and all(_key_fits(value, key, wanted) for key, wanted in shape.items())
    if isinstance(shape, tuple):
        return any(fits(value, each) for each in shape)
    if shape is None or isinstance(value, bool):
        return value is None if shape is None else shape is bool
    return isinstance(value, shape) and (not isinstance(value, int) or abs(value) < 2**63)


def _key_fits(value: Mapping[str, Any], key: str, wanted: Any) -> bool:
    name = key.removesuffix("?")
    return fits(value[name], wanted) if name in value else key.endswith("?")


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
        raise UserError(f"{where}={shown(value)}: expected {_NAMES.get(kind, 'None')}")
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
    raise UserError(f"{where}={shown(value)}: expected {' or '.join(names)}")
