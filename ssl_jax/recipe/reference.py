"""The reference of all recipe keys, docs/recipe-keys.md, made from `schema.py`.

Type and default are those of the fields, the meaning is the line `key: meaning` of the section's docstring, and the range is what
a recipe is answered that has a value out of it.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from ssl_jax.errors import UserError
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.parsing import parse
from ssl_jax.recipe.schema import UNITS, Duration, Recipe

# One of them is out of any range, whatever it allows.
OUTSIDE = (-2, -1.0, 0, 1.0, 2, "?", (-1,), (0,), (2,))
INTRODUCTION = f"""# Recipe keys

A recipe file returns them (see [forking.md](forking.md)), and `--config.key.sub=value` overrides one:
```sh
ssl-jax train --config mae_vit_fashion:tiny --workdir runs/mae --config.optimizer.lr=1e-3 --config.total_epochs=2
```
A key that ends in `_<unit>` is a length of training: its unit, one of {", ".join(UNITS)}, is part of the key, and 0 means
never or nothing. A component is a class by dotted path, `target="package.module:Name"`, with the options of that class beside
it. Sequences are tuples. `config.json` in a run directory has every key.

This page is written by `tools/recipe_keys` from `ssl_jax/recipe/schema.py`.
"""


class Key(NamedTuple):
    """One key; `rule` ends the sentence "it must be ...", and is empty where any value of the type will do."""

    name: str
    type: str
    default: str
    rule: str
    meaning: str


def page() -> str:
    """The whole page, in Markdown."""
    sections = [("The run", "", Recipe), *((f"`{name}`", f"{name}.", section) for name, section in sections_of(Recipe))]
    return "\n".join([INTRODUCTION, *(_section(title, prefix, section) for title, prefix, section in sections)])


def sections_of(recipe: type) -> Iterator[tuple[str, type]]:
    """The sections of a recipe by name, in order."""
    for name, hint in typing.get_type_hints(recipe).items():
        if dataclasses.is_dataclass(hint) and hint not in (Component, Duration):
            yield name, typing.cast(type, hint)


def keys(section: type, prefix: str) -> Iterator[Key]:
    """The keys of a section, in order. KeyError for one whose meaning the docstring does not say."""
    said, hints = meanings(section), typing.get_type_hints(section)
    for f in dataclasses.fields(section):
        hint, path = hints[f.name], prefix + f.name
        if hint is Duration:
            yield Key(f"{path}_<unit>", "number", _default(f.default), _rule(f"{path}_steps"), said[f.name])
        elif hint is Component or not dataclasses.is_dataclass(hint):
            yield Key(path, _type(str(f.type)), _default(f.default), _rule(path), said[f.name])


def meanings(section: type) -> dict[str, str]:
    """The lines `key: meaning` of a section's docstring, each with its indented continuation."""
    found = re.findall(r"^(\w+): (.*(?:\n    .*)*)", inspect.getdoc(section) or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _section(title: str, prefix: str, section: type) -> str:
    about = (inspect.getdoc(section) or "").partition("\n\n")[0]
    rows = (f"| `{k.name}` | {k.type} | {k.default} | {k.rule} | {k.meaning} |" for k in keys(section, prefix))
    head = ("| key | type | default | must be | meaning |", "|---|---|---|---|---|")
    return "\n".join([f"## {title}", about, "", *head, *rows, ""])


def _type(written: str) -> str:
    """The type as the schema writes it; a component is told by its own name."""
    return written.replace("Components", "several by name").replace("Component", "component").replace(" | ", " or ")


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "required"
    return f"{value.value:g} {value.unit}" if isinstance(value, Duration) else f"`{value!r}`"


def _rule(path: str) -> str:
    """What comes after "must be" when a recipe is refused for a value of this key, or nothing.

    A section says last what it alone demands, to a value that the type would let through.
    """
    answers = (_answer(path, value) for value in OUTSIDE)
    return ([""] + [answer for answer in answers if answer])[-1]


def _answer(path: str, value: Any) -> str:
    try:
        parse(_minimal(path, value))
    except UserError as error:
        return str(error).partition("must be ")[2]
    return ""


def _minimal(path: str, value: Any) -> dict[str, Any]:
    """The shortest recipe that has `value` at `path`."""
    component = {"target": "package.module:Name"}
    recipe: dict[str, Any] = dict.fromkeys(("objective", "model", "augment"), component)
    recipe |= {"seed": 0, "batch_size": 1, "data": {"pretrain": component}}
    recipe |= {} if path.startswith("total_") else {"total_steps": 1}
    section, dot, key = path.rpartition(".")
    return recipe | ({section: recipe.get(section, {}) | {key: value}} if dot else {key: value})
