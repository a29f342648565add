"""A part of another source: training and held-out records of one set."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data.sources.base import Record, Source, values_of
from ssl_jax.errors import UserError


class Chosen:
    """Base of sources that are some records of another. A frozen dataclass calls `_choose` in its `__post_init__`."""

    source: Source
    ids: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def _choose(self, ids: np.ndarray) -> None:
        """Keep the records `ids` [N] of `source`, in this order."""
        source = self.source
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "classes", tuple(getattr(source, "classes", ())))
        object.__setattr__(self, "notes", tuple(getattr(source, "notes", ())))
        # What not every source has. Methods are those of the inner source for chosen records, and go to worker processes.
        for name in ("batch", "encoded", "texts", "draws", "text_of", "file_of"):
            if hasattr(source, name):
                object.__setattr__(self, name, functools.partial(_of_chosen, getattr(source, name), ids))
        for name in ("labels", "decoding", "drawn"):
            if hasattr(source, name):
                object.__setattr__(self, name, getattr(source, name))

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
class Subset(Chosen):
    """The records of `source` from `start` to `stop`, given as fractions, of a random order that `seed` fixes.

    `Subset(s, 0.0, 0.9)` and `Subset(s, 0.9, 1.0)` are disjoint and together all of `s`: a training and a held-out
    part. In a recipe, `source` is itself `dict(target=..., ...)`. Records keep the relative order that they have in `source`.
    Of a mixture it is a part of the records, without the weights: mix parts instead.

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
        total = len(require_source(self.source))
        require_fractions(self.start, self.stop)
        order = np.argsort(np.random.Philox(self.seed).random_raw(total), kind="stable")
        self._choose(np.sort(order[round(self.start * total) : round(self.stop * total)]))
        require_some(self)


@dataclass(frozen=True, eq=False)
class NamedPart(Chosen):
    """The records of `source` whose names have a hash that lies, as a fraction, from `start` to `stop`.

    As with `Subset`, `NamedPart(s, 0.0, 0.8)` and `NamedPart(s, 0.8, 1.0)` are disjoint and together all of `s`, about four
    fifths and one. But a record stays in its part when others are added or removed, as long as it keeps its name
    (`source.name_of`; in a folder, the path below it). Records that are parts of one thing, as clips of a video are, stay
    together: where a source has `belongs_to(i)`, that is the name.

    group: a regular expression that is found in each name, such as `^([^/]+)/` or `speaker([0-9]+)`. What its brackets match, or
      all of it without such, is hashed in the place of the name, so that the records of a speaker, a kit, a recording are in one
      part, and none of them in another. How many groups there are stands in `notes`.

    Raises:
      UserError: a `source` that is none, fractions that are not 0 <= start < stop <= 1, or that leave no record, and a `group`
        that is no regular expression or is not found in a name.
    """

    source: Source
    start: float = 0.0
    stop: float = 1.0
    group: str = ""
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        source: Any = require_source(self.source)
        require_fractions(self.start, self.stop)
        name_of = getattr(source, "belongs_to", getattr(source, "name_of", str))
        hashed = [name_of(i) for i in range(len(source))]
        hashed = grouped(hashed, self.group) if self.group else hashed
        places = np.fromiter(map(place_of_name, hashed), np.float64, len(source))
        self._choose(np.flatnonzero((self.start <= places) & (places < self.stop)))
        require_some(self)
        if self.group:
            self._tell(hashed)

    def _tell(self, groups: Sequence[str]) -> None:
        here = len({groups[i] for i in self.ids})
        told = (
            f"split by {self.group!r}: {here} of {len(set(groups))} groups, {len(self)} of {len(self.source)} records"
        )
        object.__setattr__(self, "notes", (*self.notes, told))


@dataclass(frozen=True, eq=False)
class Labelled(Chosen):
    """The records of `source` that have a label: those whose field `label` is not -1.

    Raises:
      UserError: a `source` that is none, that does not give all labels without reading records, or that has none.
    """

    source: Source
    label: str = "label"
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        labels = values_of(require_source(self.source), self.label)
        if labels is None or not np.any(labels >= 0):
            raise UserError(
                f"no record of the source has a {self.label!r}, or it does not list them; name a labelled source"
            )
        self._choose(np.flatnonzero(labels >= 0))


def grouped(names: Sequence[str], pattern: str) -> list[str]:
    """What a regular expression finds in each name: its brackets, or all of it without any. UserError where it finds nothing.

    >>> grouped(["ann/1.wav", "bob/2.wav"], "^([^/]+)/")
    ['ann', 'bob']
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"group={pattern!r} is no regular expression ({error})") from error
    found = [compiled.search(name) for name in names]
    if None in found:
        name = names[found.index(None)]
        raise UserError(f"group={pattern!r} is not found in {name!r}; write one that is in every record's name")
    return ["/".join(str(part) for part in match.groups() or (match[0],)) for match in found if match]


def place_of_name(name: str) -> float:
    """A fraction in [0, 1) that a name hashes to, the same for ever."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "little") / 2**48  # 48 bits are a float64 below 1


def require_source(source: Any) -> Source:
    """`source`, if it is one; UserError for what stands in a recipe without a `target`."""
    if isinstance(source, Mapping | str) or not hasattr(source, "__getitem__"):
        raise UserError(f"source={source!r} is no source of records; name one with `target`, as in data.pretrain")
    return source


def require_fractions(start: float, stop: float) -> None:
    """UserError unless a part goes from a fraction to a larger one."""
    if not 0 <= start < stop <= 1:
        raise UserError(f"start={start}, stop={stop}: use fractions with 0 <= start < stop <= 1")


def require_some(part: Subset | NamedPart) -> None:
    """UserError for a part without a record."""
    if not len(part):
        raise UserError(
            f"start={part.start}, stop={part.stop} leaves none of {len(part.source)} records; widen the fraction"
        )


def _of_chosen(read: Callable[..., Any], chosen: np.ndarray, ids: Any, *others: Any) -> Any:
    """`read` of the inner source for one place in `chosen`, or for several."""
    return read(chosen[ids], *others)
