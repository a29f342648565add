"""What is known of a family of published models, and which family a file belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.interop.rules import Rule, Tensors

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

Config = Mapping[str, Any]
Model = Mapping[str, Any]  # the `model` section of a recipe: target and options


class Facts(NamedTuple):
    """What a file says: its tensors by their names in the family's table, and its config.json ({}: it has none)."""

    tensors: Tensors
    config: Config

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self.tensors[name].shape)

    def count(self, pattern: str) -> int:
        """How many layers there are: one more than the largest number that stands where `{}` is in a name's beginning."""
        found = re.compile(re.escape(pattern).replace(r"\{\}", r"(\d{1,4})"))
        return 1 + max((int(m[1]) for m in map(found.match, self.tensors) if m), default=-1)


def nothing_held(config: Config) -> dict[str, np.ndarray]:
    """No tensors in config.json."""
    return {}


@dataclass(frozen=True)
class Family:
    """A table: names, and what a config.json means.

    name: what `inspect` and `export` call it.
    about: which published weights these are.
    anchors: names that every file of the family has, after a prefix that all its names may share; (): config.json alone says.
    absent: beginnings of names that no such file has after the prefix.
    types: what `model_type` (or, for timm, the beginning of `architecture`) is in its config.json.
    model: facts -> our `model` section.
    rules: our `model` section -> the pairs of names. For writing fixed tables it has a `grid`.
    renames: (pattern, replacement) for names that were others in some versions; the table has those that are written.
    beside: a pattern of names that are no part of the encoder: heads, decoders, buffers.
    pixels: facts -> mean and std of pixels in [0, 1]; None for what sees no pixels.
    prefix: what names begin with in files of the family's library.
    config: (our `model` section, image size) -> config.json for the library that loads it; None: not written.
    held: config.json and the like -> tensors that the family keeps there.
    """

    name: str
    about: str
    anchors: tuple[str, ...]
    model: Callable[[Facts], dict[str, Any]]
    rules: Callable[[Model], tuple[Rule, ...]]
    absent: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    beside: str = r"(?!)"
    pixels: Callable[[Facts], dict[str, Any]] | None = None
    prefix: str = ""
    config: Callable[[Model, int], dict[str, Any]] | None = field(default=None)
    held: Callable[[Config], dict[str, np.ndarray]] = nothing_held

    def renamed(self, name: str) -> str:
        """A name as the table has it."""
        for pattern, new in self.renames:
            name = re.sub(pattern, new, name)
        return name


# Of several copies of an encoder in one file, the one that is evaluated.
PREFERRED = ("teacher", "target_encoder", "ema", "model_ema", "module.target", "base_encoder", "encoder_q")


def prefixes(family: Family, names: Iterable[str]) -> list[str]:
    """The prefixes below which `names` are those of the family, the preferred one first."""
    if not family.anchors:
        return [""]
    known = {family.renamed(name) for name in names}
    first = family.anchors[0]
    found = {name[: -len(first)] for name in known if name.endswith(first)}
    fits = [p for p in found if p in ("",) or p.endswith(".")]
    fits = [p for p in fits if all(p + anchor in known for anchor in family.anchors)]
    fits = [p for p in fits if not any(name.startswith(tuple(p + a for a in family.absent)) for name in known)]
    return sorted(
        fits, key=lambda p: (min((i for i, w in enumerate(PREFERRED) if p.startswith(w)), default=99), len(p), p)
    )
