"""From a weight file or a folder to a `model` section and its parameters."""

from __future__ import annotations

import hashlib
import math
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple, cast

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ssl_jax.errors import UserError
from ssl_jax.interop.families import FAMILIES
from ssl_jax.interop.family import Facts, Family, Model, prefixes
from ssl_jax.interop.files import Weights, opened
from ssl_jax.interop.fitting import Shapes
from ssl_jax.interop.rules import Read, Tensors, read, write
from ssl_jax.interop.shapes import built, require_whole, wanted
from ssl_jax.models.grid import sides

STATS = "batch_stats/"


@dataclass(frozen=True)
class Imported:
    """Public weights as ours.

    family: the table they were read by.
    model: the `model` section that they fit: target and options.
    variables: {"params": tree} and, with BatchNorm, "batch_stats"; float32 arrays of numpy.
    pixels: mean and std of pixels in [0, 1]; {} for what sees none.
    size: the side of the images that they were trained on, if the file says so.
    left_over: names in the file that are no part of the encoder's table, though they lie below its prefix.
    beside: heads and decoders, which are known not to belong to the encoder.
    where: the file or folder.
    prefix: what the names of the encoder's tensors begin with in the file.
    """

    family: Family
    model: dict[str, Any]
    variables: dict[str, Any]
    pixels: dict[str, Any]
    size: int | None
    left_over: tuple[str, ...]
    beside: tuple[str, ...]
    where: str
    prefix: str


def imported(path: str | PathLike[str], download: bool = False, kind: type | None = None) -> Imported:
    """The weights at `path`: a file, a folder as Hugging Face or timm lay it out, or the id of a repository in the local cache.

    Of several encoders in a file, the one that is a `kind` of module.
    Raises UserError for files that are damaged, of no known family, or not all there.
    """
    return converted(opened(path, download), kind)


def converted(weights: Weights, kind: type | None = None) -> Imported:
    """The weights of an open file as ours."""
    family, prefix, facts = found(weights, kind)
    model, (arrays, left) = _read(family, facts, weights.where)
    beside = re.compile(family.beside)
    known = tuple(name for name in left if beside.match(name))
    others = tuple(name for name in weights.tensors if not family.renamed(name).startswith(prefix))
    return Imported(
        family, model, nested({path: as_float32(x) for path, x in arrays.items()}),
        family.pixels(facts) if family.pixels else {}, _size(facts.config), tuple(n for n in left if n not in known),
        (*known, *others), weights.where, prefix,
    )  # fmt: skip


class Holds(NamedTuple):
    """An encoder that a file has, before it is read."""

    family: Family
    model: dict[str, Any]


def every(path: str | PathLike[str], download: bool = False) -> list[Holds]:
    """The encoders of a file: CLIP's two towers. UserError where there is none."""
    weights = opened(path, download)
    found(weights)
    return [Holds(family, family.model(facts)) for family, _, facts in _families(weights)]


def _read(family: Family, facts: Facts, where: str) -> tuple[dict[str, Any], Read]:
    """The `model` section, and the arrays. UserError for what makes no sense as one of the family."""
    try:
        model = family.model(facts)
        made = read(family.rules(model), facts.tensors)
        require_whole({path: x.shape for path, x in made.arrays.items()}, expected(model, made.arrays), where)
        return model, made
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: tensors or config.json make no model of the family {family.name} ({type(error).__name__}: {error}); "
            "the file is damaged, or of another model"
        ) from error


def expected(model: Model, arrays: Mapping[str, np.ndarray]) -> Shapes:
    """The shapes of all arrays that the model has."""
    module, kernel = built(model), arrays.get("patch_embed/kernel")
    if kernel is not None:
        return wanted(module, len(kernel) // math.prod(sides(model["patch"])))
    stem = arrays.get("conv_stem/kernel")
    return wanted(module, 3 if stem is None else stem.shape[-2])


def found(weights: Weights, kind: type | None = None) -> tuple[Family, str, Facts]:
    """The family of a file, the prefix of its names, and what it says under the table's names; of a `kind` of module, if one is
    asked for and is there."""
    every = list(_families(weights))
    fitting = (each for each in every if kind is None or _makes(each[0], each[2], kind))
    if every:
        return next(fitting, every[0])
    shown = ", ".join(list(weights.tensors)[:3])
    raise UserError(
        f"{weights.where}: its {len(weights.tensors)} tensors ({shown}, ...) are of no family that is known here: "
        f"{', '.join(f.name for f in FAMILIES)}; docs/weights.md says what each is"
    )


def _families(weights: Weights) -> Iterator[tuple[Family, str, Facts]]:
    for family in FAMILIES:
        if said(weights.config, family):
            for prefix in prefixes(family, weights.tensors):
                tensors = ChainMap(family.held(weights.config), cast(dict, Renamed(weights.tensors, family, prefix)))
                yield family, prefix, Facts(tensors, with_arguments(weights.config))


def _makes(family: Family, facts: Facts, kind: type) -> bool:
    """Whether the family's model is of that kind; one that cannot be made of this file is none."""
    with suppress(ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UserError):
        return bool(family.model(facts)["target"] == f"{kind.__module__}:{kind.__name__}")
    return False


def with_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of timm with what it changes of its architecture (`model_args`) among the other keys."""
    changed = config.get("model_args")
    return {**(changed if isinstance(changed, Mapping) else {}), **config}


def said(config: Mapping[str, Any], family: Family) -> bool:
    """Whether config.json allows the family: it names none that is known, or this one."""
    name = str(config.get("model_type") or config.get("architecture") or "")
    claimed = any(name.startswith(other.types) for other in FAMILIES if other.types)
    return name.startswith(family.types) and bool(family.types) if claimed else bool(family.anchors)


class Renamed(Mapping[str, np.ndarray]):
    """Tensors below a prefix, by the names that the table has. One is read when it is looked at."""

    def __init__(self, tensors: Tensors, family: Family, prefix: str) -> None:
        names = {family.renamed(name): name for name in tensors}
        self._names = {name[len(prefix) :]: old for name, old in names.items() if name.startswith(prefix)}
        self._tensors = tensors

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


def exported(family: Family, model: Model, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Tensors by the family's names, of an encoder whose `model` section is given, with a `grid` where positions are fixed."""
    return {family.prefix + name: x for name, x in write(family.rules(model), flat(variables)).items()}


def nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Arrays by path -> the variables of a module."""
    params = {p: x for p, x in arrays.items() if not p.startswith(STATS)}
    stats = {p.removeprefix(STATS): x for p, x in arrays.items() if p.startswith(STATS)}
    made: dict[str, Any] = {"params": unflatten_dict(params, sep="/")}
    return made | ({"batch_stats": unflatten_dict(stats, sep="/")} if stats else {})


def flat(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `nested`."""
    stats = flatten_dict(variables.get("batch_stats", {}), sep="/")
    found = flatten_dict(variables["params"], sep="/") | {STATS + path: x for path, x in stats.items()}
    return {path: np.asarray(x) for path, x in found.items()}


def digest(found: Imported) -> str:
    """Of all numbers and their names: two files with the same digest have the same encoder."""
    made = hashlib.sha256()
    for path, x in sorted(flat(found.variables).items()):
        made.update(f"{path} {x.shape} {x.dtype}\n".encode())
        made.update(np.ascontiguousarray(x).data)
    return made.hexdigest()


def as_float32(x: np.ndarray) -> np.ndarray:
    """Numbers as parameters are kept; float64 stays."""
    return x if x.dtype == np.float64 else np.asarray(x, np.float32)


def _size(config: Mapping[str, Any]) -> int | None:
    inner = config.get("pretrained_cfg") or (config.get("model_cfg") or {}).get("vision_cfg") or {}
    size = config.get("image_size") or config.get("img_size") or inner.get("input_size") or inner.get("image_size")
    size = size[-1] if isinstance(size, list | tuple) and size else size
    return size if isinstance(size, int) and not isinstance(size, bool) else None
