"""Several sources as one, of which each has its share of the examples."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.order import order_of
from ssl_jax.data.sources.base import Record, Source, values_of
from ssl_jax.errors import UserError

PERIOD = 10_000  # examples after which the pattern of sources begins again: a share is a whole number of them


@dataclass(frozen=True, eq=False)
class Mix:
    """The records of several sources, drawn by their weights: `Mix((a, b), (0.75, 0.25))`.

    Record `i` is that of the first source in which it lies, one source behind another, so that every record has one number.
    Which of them a training example is, `example_order` says: of any 10,000 examples in a row each source has the same number,
    its weight times 10,000 (rounded, to less than one away), and in between they alternate as evenly as numbers allow. Each
    source is shuffled by itself, and shows all of its records before any for a second time; the epoch of an example is that
    of its source. All of this depends on seed and cursor alone.

    Records get a field `_source`, int32, the place of their source, which no encoder sees; they keep `label` only where all
    sources have the same classes, and are otherwise to have the same fields and shapes, which is asked of the first of each.

    Args:
      sources: two or more.
      weights: as many numbers above 0; only their ratio counts.
      names: what they are called in lists; (): their numbers.

    Raises:
      UserError: numbers that do not fit, a weight that leaves a source less than one example in 10,000, or sources whose
        records do not fit into one batch.
    """

    sources: Sequence[Source]
    weights: Sequence[float]
    names: Sequence[str] = ()
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)
    counts: tuple[int, ...] = field(init=False, repr=False)
    _starts: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self.sources, self.weights, self.names)
        classes = {tuple(getattr(source, "classes", ())) for source in self.sources}
        named = tuple(self.names or (str(i) for i in range(len(self.sources))))
        for name, value in {
            "names": named,
            "counts": counts_of(tuple(self.weights)),
            "classes": classes.pop() if len(classes) == 1 else (),
            "_starts": np.cumsum([0, *map(len, self.sources)]),
        }.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "notes", tuple(self._notes(named)))
        _require_alike(self)
        # What only some sources have: a mixture has it where all of its sources do, and goes to worker processes.
        if all(hasattr(source, "batch") for source in self.sources):
            object.__setattr__(self, "batch", functools.partial(_batch, self))
        decodings = [getattr(source, "decoding", None) for source in self.sources]
        if decodings[0] is not None and all(decoding == decodings[0] for decoding in decodings):
            object.__setattr__(self, "decoding", decodings[0])
            object.__setattr__(self, "encoded", functools.partial(_one, self, "encoded"))
        if any(hasattr(source, "draws") for source in self.sources):
            object.__setattr__(self, "draws", functools.partial(_draws, self))
            object.__setattr__(self, "drawn", functools.partial(_drawn, self))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Record:
        return _one(self, "__getitem__", index)

    def example_order(self, seed: int, cursor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Record ids and epochs int64 [R] of the training examples `cursor` int64 [R]."""
        parts, turns = turn(self.counts, cursor)
        ids, epochs = np.empty_like(cursor), np.empty_like(cursor)
        for i, source in enumerate(self.sources):
            own = parts == i
            ids[own], epochs[own] = order_of(source, _own_seed(seed, i), turns[own])
        return ids + self._starts[parts], epochs

    def place(self, index: int) -> tuple[int, int]:
        """The source in which record `index` lies, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        part = int(np.searchsorted(self._starts, index, "right")) - 1
        return part, int(index - self._starts[part])

    def values(self, name: str) -> np.ndarray | None:
        """All values of a field [N, ...], where every source gives them without reading records."""
        if name == "_source":
            return np.repeat(np.arange(len(self.sources), dtype=np.int32), np.diff(self._starts))
        found = [values_of(source, name) for source in self.sources if name != "label" or self.classes]
        given = [values for values in found if values is not None]
        fits = len(given) == len(self.sources) and len({(x.shape[1:], x.dtype) for x in given}) == 1
        return np.concatenate(given) if fits else None

    @staticmethod
    def example(sources: Sequence[Record], **_: object) -> Record:
        """A record of zeros, from one of each source: reads nothing."""
        return {k: v for k, v in sources[0].items() if k != "label"} | {"_source": np.zeros((), np.int32)}

    def name_of(self, index: int) -> str:
        """What the source of a record calls it, after the name of the source."""
        part, inner = self.place(index)
        source: Any = self.sources[part]
        return f"{self.names[part]}: {source.name_of(inner) if hasattr(source, 'name_of') else inner}"

    def fingerprint(self) -> str:
        """SHA-256 of the sources' own, and how many of 10,000 examples each has."""
        told = [(source.fingerprint(), count) for source, count in zip(self.sources, self.counts, strict=True)]
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def _own_fields(self, record: Record, part: Any) -> Record:
        kept = record if self.classes else {name: value for name, value in record.items() if name != "label"}
        return kept | {"_source": np.asarray(part, np.int32)}

    def _notes(self, names: Sequence[str]) -> list[str]:
        shares = map(_share, names, map(len, self.sources), self.counts)
        own = (
            f"{name}: {note}" for name, s in zip(names, self.sources, strict=True) for note in getattr(s, "notes", ())
        )
        return [*shares, *own]


def _share(name: str, records: int, count: int) -> str:
    every = -(-records * PERIOD // count)
    return (
        f"{name} has {100 * count / PERIOD:g} % of the examples: an epoch of its {records:,} records in every {every:,}"
    )


def counts_of(weights: tuple[float, ...]) -> tuple[int, ...]:
    """How many of 10,000 examples each weight is, less than one from its exact share; together 10,000."""
    shares = [weight * PERIOD / sum(weights) for weight in weights]
    counts = [int(share) for share in shares]
    nearest = sorted(range(len(shares)), key=lambda i: (counts[i] - shares[i], i))
    for i in nearest[: PERIOD - sum(counts)]:
        counts[i] += 1
    return tuple(counts)


def turn(counts: tuple[int, ...], cursor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each example of `cursor` [R]: the source that it is from, and how many examples of that source there were before."""
    pattern, before = _pattern(counts)
    rounds, places = np.divmod(cursor, PERIOD)
    parts = pattern[places]
    return parts, rounds * np.asarray(counts)[parts] + before[places]


@functools.lru_cache(maxsize=16)
def _pattern(counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The sources of 10,000 examples int64 [P], each the one that is furthest behind its share, and how often it was before."""
    share, given = np.array(counts), np.zeros(len(counts), np.int64)
    parts, before = np.empty(PERIOD, np.int64), np.empty(PERIOD, np.int64)
    for place in range(PERIOD):
        part = int(np.argmax(share * (place + 1) - PERIOD * given))
        parts[place], before[place] = part, given[part]
        given[part] += 1
    return parts, before


def _own_seed(seed: int, part: int) -> int:
    """The seed of a source's order, so that sources of one size have different ones."""
    return int.from_bytes(hashlib.blake2b(f"mix {seed} {part}".encode(), digest_size=8).digest(), "little")


def _one(mix: Mix, method: str, index: int) -> Record:
    """`method` of the source that record `index` lies in."""
    part, inner = mix.place(index)
    return mix._own_fields(getattr(mix.sources[part], method)(inner), part)


def _draws(mix: Mix, ids: np.ndarray, epochs: np.ndarray) -> list[tuple[int, Any]]:
    """The source of each of the records `ids` [R], and what it draws for it in `epochs` [R]; None of one that draws nothing."""
    parts = np.searchsorted(mix._starts, ids, "right") - 1
    drawn: list[tuple[int, Any]] = [(int(part), None) for part in parts]
    for part, source in enumerate(mix.sources):
        here = np.flatnonzero(parts == part)
        if len(here) and hasattr(source, "draws"):
            rows = source.draws(ids[here] - mix._starts[part], epochs[here])
            for place, row in zip(here, rows, strict=True):
                drawn[place] = (part, row)
    return drawn


def _drawn(mix: Mix, record: Record, draws: tuple[int, Any]) -> Record:
    """The example that a record is, by its row of `draws`."""
    part, own = draws
    source: Any = mix.sources[part]
    return record if own is None else mix._own_fields(source.drawn(record, own), part)


def _batch(mix: Mix, ids: np.ndarray) -> Record:
    """The records `ids` [B], gathered from each source at once."""
    parts = np.searchsorted(mix._starts, ids, "right") - 1
    found = {int(part): _rows(mix, int(part), ids[parts == part]) for part in np.unique(parts)}
    rows = {name: np.empty((len(ids), *x.shape[1:]), x.dtype) for name, x in next(iter(found.values())).items()}
    for part, record in found.items():
        for name, values in record.items():
            rows[name][parts == part] = values
    return rows


def _rows(mix: Mix, part: int, ids: np.ndarray) -> Record:
    """The records `ids` [B], all of one source."""
    source: Any = mix.sources[part]
    return mix._own_fields(source.batch(ids - mix._starts[part]), np.full(len(ids), part))


def _require_alike(mix: Mix) -> None:
    """UserError where the first records of two sources do not fit into one batch."""
    firsts = [mix._own_fields(BadRecords(1.0).read(source, 0)[1], part) for part, source in enumerate(mix.sources)]
    shapes = [{name: (np.shape(x), str(np.asarray(x).dtype)) for name, x in record.items()} for record in firsts]
    for name, shape in zip(mix.names, shapes, strict=True):
        if shape != shapes[0]:
            raise UserError(
                f"the sources {mix.names[0]!r} and {name!r} of a mixture do not fit into one batch: {shapes[0]} and {shape}; "
                f"bring them to one shape and type (`size` and `channels` of pictures)"
            )


def _check(sources: Any, weights: Any, names: Any) -> None:
    none = (str, Mapping)
    if isinstance(sources, none) or len(sources) < 2 or any(isinstance(source, none) for source in sources):
        raise UserError("a mixture is made of two sources or more; name each with `target`, or by a string")
    if len(weights) != len(sources) or not all(0 < weight < math.inf for weight in weights):
        raise UserError(f"weights={tuple(weights)} for {len(sources)} sources: give a number above 0 for each")
    if names and len(set(names)) != len(sources):
        raise UserError(f"names={tuple(names)} for {len(sources)} sources: give each one of its own")
    small = [weight for weight, count in zip(weights, counts_of(tuple(weights)), strict=True) if not count]
    if small:
        raise UserError(
            f"the weight {small[0]} is less than one example in {PERIOD:,}; raise it, or leave that source out"
        )
