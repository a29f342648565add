"""A part of another source: training and held-out records of one set, or those that an index file names."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources.arrays import HASH_ROWS, spread
from ssl_jax.data.sources.base import Record, Source, values_of
from ssl_jax.errors import UserError

INDEX_FORMAT = "ssl_jax subset 1"


class _Part:
    """Base of sources that are some of the records of another. A frozen dataclass calls `_choose` in its `__post_init__`."""

    source: Source
    ids: np.ndarray

    def _choose(self, chosen: np.ndarray) -> None:
        """Keep the numbers of the chosen records."""
        source = self.source
        object.__setattr__(self, "ids", chosen)
        object.__setattr__(self, "classes", tuple(getattr(source, "classes", ())))
        object.__setattr__(self, "notes", tuple(getattr(source, "notes", ())))
        if hasattr(source, "labels"):
            object.__setattr__(self, "labels", source.labels)
        # What not every source has. Each is a method of the inner source for chosen records, and goes to worker processes.
        for name in ("batch", "encoded", "texts"):
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


@dataclass(frozen=True, eq=False)
class Subset(_Part):
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
        source = _require_source(self.source)
        if not 0 <= self.start < self.stop <= 1:
            raise UserError(f"start={self.start}, stop={self.stop}: use fractions with 0 <= start < stop <= 1")
        order = np.argsort(np.random.Philox(self.seed).random_raw(len(source)), kind="stable")
        chosen = np.sort(order[round(self.start * len(source)) : round(self.stop * len(source))])
        if not len(chosen):
            raise UserError(
                f"start={self.start}, stop={self.stop} leaves none of {len(source)} records; widen the fraction"
            )
        self._choose(chosen)


@dataclass(frozen=True, eq=False)
class Chosen(_Part):
    """The records of `source` that an index file names, as `ssl-jax data subset` writes it: `subset:/data/clean.json`.

    The file says how many records there are to choose from, and a digest of names of those that were chosen: where these are
    other ones by now, it is refused. Records keep the order that they have in `source`.

    Raises:
      UserError: a `source` that is none, no such file, or one that was made of other records.
    """

    source: Source
    index: str
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        source, said = _require_source(self.source), read_index(self.index)
        ids = np.unique(np.array(said["ids"], np.int64))
        if said["of"] != len(source) or not len(ids) or ids[0] < 0 or ids[-1] >= len(source):
            raise UserError(
                f"{self.index!r} chooses from {said['of']} records, and there are {len(source)}; make it again"
            )
        if said["names"] != names_digest(source, ids):
            raise UserError(
                f"{self.index!r} was made when its records had other names; make it again: ssl-jax data subset"
            )
        self._choose(ids)


def index_of(source: Source, text: str, ids: np.ndarray, how: list[str]) -> dict[str, Any]:
    """What an index file holds: the records `ids` of the source that `text` names, chosen as `how` says."""
    names = names_digest(source, ids)
    return {"format": INDEX_FORMAT, "source": text, "of": len(source), "how": how, "names": names, "ids": ids.tolist()}


def read_index(path: str) -> dict[str, Any]:
    """An index file. UserError for anything else."""
    try:
        said = json.loads(files.read(path))
        sound = said["format"] == INDEX_FORMAT and all(type(i) is int and 0 <= i < 2**31 for i in said["ids"])
        if sound and isinstance(said["source"], str) and isinstance(said["of"], int):
            return said
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path!r} cannot be read as an index of records ({error}); make it: ssl-jax data subset"
        ) from error
    raise UserError(f"{path!r} is no index of records; make it: ssl-jax data subset")


def names_digest(source: Source, ids: np.ndarray) -> str:
    """SHA-256 of what (evenly spread) 4,096 of the records `ids` at most are called."""
    named = getattr(source, "name_of", str)
    return hashlib.sha256(
        "\n".join(named(int(ids[i])) for i in spread(len(ids), HASH_ROWS)).encode("utf-8", "surrogateescape")
    ).hexdigest()


def _require_source(source: Any) -> Source:
    if isinstance(source, Mapping | str) or not hasattr(source, "__getitem__"):
        raise UserError(f"source={source!r} is no source of records; name one with `target`, as in data.pretrain")
    return source


def _of_chosen(read: Callable[[Any], Record], chosen: np.ndarray, ids: Any) -> Record:
    """`read` of the inner source for one place in `chosen`, or for several."""
    return read(chosen[ids])
