"""Views of several modalities of a record, each by an augmentation of its own."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jax import Array

from ssl_jax.data.augment import Augment, Batch, Views
from ssl_jax.data.panels import Panel
from ssl_jax.data.units import Units, units
from ssl_jax.errors import UserError

if TYPE_CHECKING:
    from ssl_jax.data.image.host import HostCrops
    from ssl_jax.data.sources.base import Record

SAME = "same"  # the view that says which records are the same
_ODD = (np.uint32(0x9E3779B1), np.uint32(0x85EBCA77))


@dataclass(frozen=True)
class Together:
    """The views of every part: `image`, `tokens`, `wave`, under the names that the parts give them.

    parts: an augmentation by the name of what it sees; towers of the model have the same names.
    """

    parts: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", FrozenDict(self.parts))  # so that it can be hashed
        if len(self.parts) < 2:
            raise UserError(
                f"augment.parts has {', '.join(self.parts) or 'none'}; name an augmentation for each of two modalities "
                "or more, e.g. parts=dict(image=dict(target=...), text=dict(target=...))"
            )
        twice = [name for name, count in Counter(self.inputs).items() if count > 1]
        if twice:
            raise UserError(
                f"augment.parts: two of {', '.join(self.parts)} give {twice[0]!r}; each needs names of its own"
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of every part, in their order."""
        return tuple(name for part in self.parts.values() for name in part.inputs)

    @property
    def tokenizer_digest(self) -> str:
        """That of the first part that has one; "" without."""
        return self._first("tokenizer_digest")

    @property
    def tokenizer(self) -> str:
        """The name of the tokenizer of the first part that has one; "" without."""
        return self._first("tokenizer")

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The views of every part, drawn from the same keys; and `same` int [B, K, 2], what makes two records the same."""
        made: Views = reduce(or_, (part(keys, batch) for part in self.parts.values()))
        return made | {SAME: self.contents(batch)}

    def contents(self, batch: Batch) -> Array:
        """Two numbers int32 [B, K, 2] for what each part sees of a record, equal where pictures, or captions, are equal."""
        return jnp.stack([self._content(name, batch) for name in self.parts], axis=1)

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The inputs of every part, without randomness."""
        return reduce(or_, (part.evaluation(batch) for part in self.parts.values()))

    def plain(self, batch: Batch) -> Array:
        """That of the first part."""
        first: Augment = next(iter(self.parts.values()))
        return first.plain(batch)

    def panel(self, views: Views) -> dict[str, Panel]:
        """What each part shows of its own; the rows of all panels are the same records."""
        shown = {name: part.panel(self._own(views, name)) for name, part in self.parts.items()}
        return {
            name if len(panels) == 1 else f"{name} {key}": panel
            for name, panels in shown.items()
            for key, panel in panels.items()
        }

    def check(self, records: Iterable[Mapping[str, Any]]) -> None:
        """What each part refuses."""
        records = list(records)
        for part in self.parts.values():
            getattr(part, "check", lambda records: None)(records)

    def units(self, batch: Mapping[str, Any]) -> Units:
        """What every part counts."""
        return reduce(or_, (units(part, batch) for part in self.parts.values()))

    def host(self, mode: str = "antialias") -> MarkedCrops:
        """The crops of the part that leaves any to the host: that of pictures."""
        for name, part in self.parts.items():
            if hasattr(part, "host"):
                return MarkedCrops(part.host(mode), f"{name}/{SAME}")
        raise UserError("data.crop=host: no part of augment has pictures to crop; set data.crop=device")

    def _content(self, name: str, batch: Batch) -> Array:
        if f"{name}/{SAME}" in batch:
            return jnp.asarray(batch[f"{name}/{SAME}"])
        part = self.parts[name]
        content = getattr(part, "content", lambda batch: tuple(part.evaluation(batch).values()))
        return reduce(jnp.add, map(prints, jax.tree.leaves(content(batch))))

    def _own(self, views: Views, name: str) -> Views:
        others = {key for other, part in self.parts.items() if other != name for key in part.inputs}
        return {key: x for key, x in views.items() if key.partition("/")[0] not in others | {SAME}}

    def _first(self, name: str) -> str:
        return next(filter(None, (getattr(part, name, "") for part in self.parts.values())), "")


@dataclass(frozen=True)
class MarkedCrops:
    """Crops on the host, and beside them two numbers of the whole picture that they come from."""

    crops: HostCrops
    field: str

    @property
    def mode(self) -> str:
        """How a crop is resized."""
        return self.crops.mode

    def draws(self, keys: np.ndarray) -> np.ndarray:
        """As `HostCrops`."""
        return self.crops.draws(keys)

    def __call__(self, record: Record, draws: np.ndarray) -> Record:
        """The record with crops for its picture, and the `field` int32 [2]."""
        digest = hashlib.blake2b(np.ascontiguousarray(record[self.crops.key]).data, digest_size=8).digest()
        return self.crops(record, draws) | {self.field: np.frombuffer(digest, np.int32)}


def prints(x: Array) -> Array:
    """Two numbers int32 [B, 2] for arrays [B, ...]: equal for equal ones, and hardly ever for others.

    >>> a, b, c = prints(jnp.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])).tolist()
    >>> a == b, a == c
    (True, False)
    """
    rows = x.reshape(len(x), -1)
    floats = jnp.issubdtype(rows.dtype, jnp.floating)
    bits = jax.lax.bitcast_convert_type(rows.astype(jnp.float32), jnp.uint32) if floats else rows.astype(jnp.uint32)
    places = jnp.arange(rows.shape[1], dtype=jnp.uint32)
    mixed = [(_mixed(places * odd + 1) * _mixed(bits + odd)).sum(axis=1, dtype=jnp.uint32) for odd in _ODD]
    return jax.lax.bitcast_convert_type(jnp.stack(mixed, axis=1), jnp.int32)


def _mixed(x: Array) -> Array:
    """A permutation of uint32 in which every bit depends on every other (the finaliser of MurmurHash3)."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
