"""A part of another source: training and held-out records of one set."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data.sources.base import Record, Source, values_of
from ssl_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class Subset:
    """The records of `source` from `start` to `stop`, given as fractions, of a random order that `seed` fixes.

    `Subset(s, 0.0, 0.9)` and `Subset(s, 0.9, 1.0)` are disjoint and together all of `s`: a training and a held-out
    part. In a recipe, `source` is itself `dict(target=..., ...)`. Records keep the relative order that they have in `source`.

    Raises:
      UserError: a `source` that is none, fractions that are not 0 <= start < stop <= 1, or that leave no record.
    """

    source: Source
    start: float = 0.0
    stop: float = 1.0
    seed: int = 0
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        source = self.source
        if isinstance(source, Mapping | str) or not hasattr(source, "__getitem__"):
            raise UserError(f"source={source!r} is no source of records; name one with `target`, as in data.pretrain")
        if not 0 <= self.start < self.stop <= 1:
            raise UserError(f"start={self.start}, stop={self.stop}: use fractions with 0 <= start < stop <= 1")
        order = np.argsort(np.random.Philox(self.seed).random_raw(len(source)), kind="stable")
        chosen = np.sort(order[round(self.start * len(source)) : round(self.stop * len(source))])
        if not len(chosen):
            raise UserError(
                f"start={self.start}, stop={self.stop} leaves none of {len(source)} records; widen the fraction"
            )
        object.__setattr__(self, "ids", chosen)
        object.__setattr__(self, "classes", tuple(getattr(source, "classes", ())))
        object.__setattr__(self, "notes", tuple(getattr(source, "notes", ())))
        if hasattr(source, "labels"):
            object.__setattr__(self, "labels", source.labels)
        # What not every source has. Each is a method of the inner source for chosen records, and goes to worker processes.
        for name in ("batch", "encoded"):
            if hasattr(source, name):
                object.__setattr__(self, name, functools.partial(_of_chosen, getattr(source, name), chosen))
        if hasattr(source, "decoding"):
            object.__setattr__(self, "decoding", source.decoding)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return self.source[int(self.ids[index])]

    @staticmethod
    def example(source: Record, **_: object) -> Record:
        """That of the inner source, given as a record of zeros: reads nothing."""
        return source

    def values(self, name: str) -> np.ndarray | None:
        """All values of a field [N, ...], where the inner source gives them without reading records."""
        values = values_of(self.source, name)
        return None if values is None else values[self.ids]

    def name_of(self, index: int) -> str:
        """What the inner source calls the record."""
        inner = int(self.ids[index])
        return self.source.name_of(inner) if hasattr(self.source, "name_of") else str(inner)

    def fingerprint(self) -> str:
        """SHA-256 of the inner fingerprint and the chosen record ids."""
        return hashlib.sha256(self.source.fingerprint().encode() + self.ids.astype("<i8").tobytes()).hexdigest()


def _of_chosen(read: Callable[[Any], Record], chosen: np.ndarray, ids: Any) -> Record:
    """`read` of the inner source for one place in `chosen`, or for several."""
    return read(chosen[ids])
