"""How the sources of a table are read: what of their records, what of encoders, what is kept of it, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ssl_jax.data.bad import BadRecords
from ssl_jax.evaluate.cache import Arrays, Cache, Entry
from ssl_jax.evaluate.features import Change, Features, extract, extract_readings, raw
from ssl_jax.evaluate.progress import Tick, unheard
from ssl_jax.evaluate.readings import OWN, Reading
from ssl_jax.evaluate.room import in_memory
from ssl_jax.objectives.base import Encoder

Tolerance = Callable[[Any], BadRecords]  # what counts the unreadable records of a source, and ends the work at a limit
Wanted = tuple[str, Reading]  # an encoder by name, and a reading


def strict(source: Any) -> BadRecords:
    """The first record that cannot be read ends the work."""
    return BadRecords(0.0)


@dataclass(frozen=True, eq=False)
class Weights:
    """Where an encoder and its variables come from, and what they depend on: plain data, None where nothing is to be kept."""

    make: Callable[[], tuple[Encoder, dict]]
    identity: Mapping[str, Any] | None = None


def there(encoder: Encoder, variables: dict, identity: Mapping[str, Any] | None = None) -> Weights:
    """Weights that need not be made."""
    return Weights(lambda: (encoder, variables), identity)


@dataclass(frozen=True)
class Reader:
    """Reads sources, for all rows of a table alike.

    readings: what is wanted of every encoder beside its own features.
    fields: which fields of the records are kept beside.
    heard: of a title, what is told how far a pass over the records is.
    mesh: the devices that read, and that train what is made anew.
    """

    label: str = "label"
    target: str | None = None
    batch_size: int = 256
    fields: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()
    tolerance: Tolerance = strict
    cache: Cache = field(default_factory=Cache)
    heard: Callable[[str], Tick] = lambda title: unheard
    mesh: Mesh | None = None

    def features(self, weights: Mapping[str, Weights], source: Any, title: str = "") -> dict[Wanted, Features]:
        """Features of `source` by each encoder and reading that it can give; what was not kept is made in one pass."""
        wanted = [(name, reading) for name in weights for reading in dict.fromkeys((OWN, *self.readings))]
        keys = {pair: self._key(weights[pair[0]], pair[1], source) for pair in wanted}
        columns = self.cache.get(self._about(source))
        kept = {} if columns is None else {pair: self._kept(key, columns) for pair, key in keys.items()}
        missing = {pair: keys[pair] for pair in wanted if kept.get(pair) is None}
        found = {
            p: _features(arrays, columns, self.fields) for p, arrays in kept.items() if columns is not None and arrays
        }
        with self._devices():
            return found | (self._made(weights, missing, source, title, columns is None) if missing else {})

    def raw(self, encoder: Encoder, source: Any, title: str = "", change: Change | None = None) -> Features:
        """What there is without the encoder."""
        with self._devices():
            return raw(encoder, source, tick=self.heard(title), change=change, **self._options(source))

    def changed(self, weights: Weights, source: Any, title: str, change: Change) -> Features:
        """An encoder's own features of records that `change` has changed."""
        with self._devices():
            return extract(*weights.make(), source, tick=self.heard(title), change=change, **self._options(source))

    def _devices(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.mesh is None else jax.set_mesh(self.mesh)

    def _made(
        self, weights: Mapping[str, Weights], keys: Mapping[Wanted, Any], source: Any, title: str, columns: bool
    ) -> dict[Wanted, Features]:
        encoders = {name: weights[name].make() for name in dict.fromkeys(name for name, _ in keys)}
        readings = tuple(dict.fromkeys(reading for _, reading in keys))
        with ExitStack() as stack:
            entries = {pair: stack.enter_context(self._adding(key)) for pair, key in keys.items()}

            def room(pair: Wanted, shape: tuple[int, ...]) -> np.ndarray:
                return entries[pair].room("x", shape) if pair in entries else in_memory(pair, shape)

            found = extract_readings(
                encoders, source, readings, room=room, tick=self.heard(title), **self._options(source)
            )
            for pair in entries.keys() & found.keys():
                entries[pair].complete({"grid": np.array(found[pair].grid, np.int32)}, len(found[pair].x))
            if columns:
                about = stack.enter_context(self._adding(self._about(source)))
                about.complete(_columns(next(iter(found.values()))))
        return found

    def _options(self, source: Any) -> dict[str, Any]:
        read = {"label": self.label, "target": self.target, "batch_size": self.batch_size, "fields": self.fields}
        return read | {"bad": self.tolerance(source)}

    def _about(self, source: Any) -> dict[str, Any]:
        return {"source": source.fingerprint(), "label": self.label, "target": self.target, "fields": [*self.fields]}

    def _key(self, weights: Weights, reading: Reading, source: Any) -> dict[str, Any] | None:
        if weights.identity is None:
            return None
        return {"weights": weights.identity, "reading": str(reading), "source": source.fingerprint()}

    def _kept(self, key: Mapping[str, Any] | None, columns: Arrays) -> Arrays | None:
        """An entry with a row for every record, or without any, where the encoder cannot give the reading."""
        arrays = None if key is None else self.cache.get(key)
        return arrays if arrays is not None and len(arrays.get("x", columns["ids"])) == len(columns["ids"]) else None

    def _adding(self, key: Mapping[str, Any] | None) -> AbstractContextManager[Entry]:
        return nullcontext(Entry()) if key is None else self.cache.adding(key)


PLAIN = Reader()


def _columns(features: Features) -> dict[str, np.ndarray]:
    """All but `x`, for an entry."""
    known = {"ids": features.ids, "y": features.y, "target": features.target}
    numbered = {f"field{i}": values for i, values in enumerate(features.fields.values())}
    return {name: values for name, values in known.items() if values is not None} | numbered


def _features(arrays: Arrays, columns: Arrays, fields: Iterable[str]) -> Features:
    kept = {name: columns[f"field{i}"] for i, name in enumerate(fields)}
    grid = tuple(int(side) for side in arrays["grid"])
    return Features(arrays["x"], columns.get("y"), columns["ids"], columns.get("target"), kept, grid)
