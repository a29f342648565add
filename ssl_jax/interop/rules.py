"""Their tensors -> our parameters and back, by one list of rules.

Our parameters are a flat dict of paths, `transformer/blocks/qkv/kernel`; BatchNorm's statistics are below `batch_stats/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.interop.transforms import Arrays, Transform, same

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Rule:
    """Tensors of theirs, arrays of ours, and what is between them.

    With `layers`, `{}` in their names stands for the number of a layer, and ours have the layers along a leading axis. A rule
    holds where all its names are there; of several for one array of ours the first one counts.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transform: Transform = same
    layers: int | None = None

    def names(self) -> Iterator[tuple[str, ...]]:
        """Their names, of each layer."""
        return (tuple(name.format(i) for name in self.theirs) for i in range(1 if self.layers is None else self.layers))


def rule(theirs: str | tuple[str, ...], ours: str | tuple[str, ...], transform: Transform = same) -> Rule:
    """A rule for one tensor, or several."""
    names, paths = ((x,) if isinstance(x, str) else x for x in (theirs, ours))
    return Rule(names, paths, transform)


def stacked(rules: Iterable[Rule], layers: int) -> tuple[Rule, ...]:
    """The rules of a layer for all of a stack, ours below `blocks`."""
    return tuple(replace(r, ours=tuple(f"blocks/{path}" for path in r.ours), layers=layers) for r in rules)


def below(rules: Iterable[Rule], theirs: str = "", ours: str = "") -> tuple[Rule, ...]:
    """The same rules for names that begin with `theirs`, and paths that begin with `ours`."""
    return tuple(
        replace(r, theirs=tuple(theirs + n for n in r.theirs), ours=tuple(ours + p for p in r.ours)) for r in rules
    )


class Read(NamedTuple):
    """Our arrays by path, and their names that no rule took."""

    arrays: dict[str, np.ndarray]
    left_over: tuple[str, ...]


def read(rules: Iterable[Rule], tensors: Tensors) -> Read:
    """Our arrays of their tensors. UserError, with the names, for tensors that do not go together."""
    found: dict[str, np.ndarray] = {}
    taken: set[str] = set()
    for each in rules:
        names = list(each.names())
        if all(name in tensors for layer in names for name in layer) and not any(path in found for path in each.ours):
            found |= zip(each.ours, _read(each, names, tensors), strict=True)
            taken |= {name for layer in names for name in layer}
    return Read(found, tuple(name for name in tensors if name not in taken))


def _read(each: Rule, names: list[tuple[str, ...]], tensors: Tensors) -> Arrays:
    try:
        layers = [each.transform.read(tuple(tensors[name] for name in layer)) for layer in names]
        return layers[0] if each.layers is None else tuple(np.stack(x) for x in zip(*layers, strict=True))
    except (ValueError, IndexError) as error:
        shapes = ", ".join(f"{name} {list(np.shape(tensors[name]))}" for name in names[0])
        raise UserError(
            f"{shapes} make no {' and '.join(each.ours)}: {error}; the file is damaged, or of another model"
        ) from error


def write(rules: Iterable[Rule], arrays: Tensors) -> dict[str, np.ndarray]:
    """Their tensors of our arrays. UserError for arrays that no rule takes: the other model has no place for them."""
    made: dict[str, np.ndarray] = {}
    taken: set[str] = set()
    for each in rules:
        if all(path in arrays for path in each.ours) and not taken & set(each.ours):
            made |= _written(each, arrays)
            taken |= set(each.ours)
    if left := sorted(arrays.keys() - taken):
        raise UserError(f"the other model has no place for {', '.join(left)}; write another format")
    return made


def _written(each: Rule, arrays: Tensors) -> dict[str, np.ndarray]:
    ours = tuple(np.asarray(arrays[path]) for path in each.ours)
    try:
        return _each_written(each, ours)
    except ValueError as error:
        raise UserError(f"{' and '.join(each.ours)} cannot be written: {error}; write another format") from error


def _each_written(each: Rule, ours: Arrays) -> dict[str, np.ndarray]:
    rows = [ours] if each.layers is None else zip(*ours, strict=True)
    return {
        name: np.ascontiguousarray(tensor)
        for names, row in zip(each.names(), rows, strict=True)
        for name, tensor in zip(names, each.transform.write(tuple(row)), strict=True)
    }
