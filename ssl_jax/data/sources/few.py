"""Few labels: so many of each class, a share of each class, or those that a list names; and classes drawn equally often."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.few import draw, share
from ssl_jax.data.order import order
from ssl_jax.data.sources.base import Source, values_of
from ssl_jax.data.sources.subset import Chosen, require_source
from ssl_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class FewLabels(Chosen):
    """Some records of each class of `source`, or with `rest` all labelled others, to choose on.

    per_class: how many of each class; or `percent`: how much of each class, one record at least.
    draw: which draw of this `seed`. With `per_class` it holds the records of draw `draw` of the probe `fewshot`.

    Raises:
      UserError: neither or both of the two, a source that does not list its labels, or a class that has too few.
    """

    source: Source
    per_class: int | None = None
    percent: float | None = None
    draw: int = 0
    seed: int = 0
    rest: bool = False
    label: str = "label"
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if (self.per_class is None) == (self.percent is None):
            raise UserError("a few labels: give per_class=N records of each class, or percent=P of them")
        labels = listed_labels(require_source(self.source), self.label)
        given = np.flatnonzero(labels >= 0)
        chosen = given[self._few(labels[given])]
        self._choose(np.setdiff1d(given, chosen) if self.rest else chosen)

    def _few(self, labels: np.ndarray) -> np.ndarray:
        if self.per_class is not None:
            return draw(labels, self.per_class, self.seed, self.draw)
        return share(labels, self.percent or 0.0, self.seed, self.draw)


@dataclass(frozen=True, eq=False)
class Named(Chosen):
    """The records of `source` that the text file `names` lists, a name a line, in the order of the source.

    A name is what the source calls a record (`name_of`; in a folder, the path below it) or its last part, as in the published
    lists of 1 % and 10 % of ImageNet's files. `rest` takes all others.

    Raises:
      UserError: no such file, a source without names, or names that no record has.
    """

    source: Source
    names: str
    rest: bool = False
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        source, wanted = require_source(self.source), set(_lines(self.names))
        if not hasattr(source, "name_of"):
            raise UserError(f"names={self.names!r}: the source has no names of records; use FewLabels")
        found = [{source.name_of(i), source.name_of(i).rpartition("/")[2]} & wanted for i in range(len(source))]
        missing = sorted(wanted - set().union(*found))
        if missing:
            raise UserError(
                f"{self.names!r}: {len(missing):,} of {len(wanted):,} names are those of no record, such as {missing[0]!r}; "
                "is it a list of another set?"
            )
        self._choose(np.flatnonzero([bool(f) is not self.rest for f in found]))


@dataclass(frozen=True, eq=False)
class Balanced(Chosen):
    """`source`, of which every class is drawn equally often, whatever its share of the records.

    One example of each class in a random order makes a round. Records without a label are left out. A class goes through all of
    its records before one comes again.

    Raises:
      UserError: a source that does not list its labels.
    """

    source: Source
    label: str = "label"
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)
    _members: tuple[np.ndarray, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        labels = listed_labels(require_source(self.source), self.label)
        self._choose(np.flatnonzero(labels >= 0))
        own = labels[self.ids]
        object.__setattr__(self, "_members", tuple(np.flatnonzero(own == c) for c in np.unique(own)))

    def example_order(self, seed: int, cursor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Record ids and epochs int64 [R] of the training examples `cursor` int64 [R]; an epoch is one of its class."""
        turns, rounds = order(seed, cursor, len(self._members))
        ids, epochs = np.empty_like(cursor), np.empty_like(cursor)
        for number, members in enumerate(self._members):
            own = turns == number
            places, epochs[own] = order(_class_seed(seed, number), rounds[own], len(members))
            ids[own] = members[places]
        return ids, epochs

    def fingerprint(self) -> str:
        """SHA-256 of that of the records, and that classes are drawn equally often."""
        return hashlib.sha256(f"balanced {super().fingerprint()}".encode()).hexdigest()


def listed_labels(source: Source, label: str) -> np.ndarray:
    """All labels [N] of a source that gives them without reading records, -1 where there is none; UserError for others."""
    labels = values_of(source, label)
    if labels is None or labels.ndim != 1 or not np.any(labels >= 0):
        raise UserError(
            f"no record of the source has a {label!r}, or it does not list one for each; name a labelled source"
        )
    return labels


def _class_seed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"balanced {seed} {number}".encode(), digest_size=8).digest(), "little")


def _lines(path: str) -> list[str]:
    try:
        lines = files.read(path).decode("utf-8", "surrogateescape").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"no list at {path!r} ({error}); give a text file with a name a line") from error
    return [line.strip() for line in lines if line.strip()]
