"""Views of several modalities of a record, each by an augmentation of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from flax.core import FrozenDict
from jax import Array

from ssl_jax.data.augment import Augment, Batch, Views
from ssl_jax.data.panels import Panel
from ssl_jax.data.units import Units, units
from ssl_jax.errors import UserError


@dataclass(frozen=True)
class Together:
    """The views of each part under its name: `<part>/<name>`, such as `image/image`, `text/tokens`, `sound/wave`.

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

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of every part, in their order."""
        return tuple(f"{name}/{key}" for name, part in self.parts.items() for key in part.inputs)

    @property
    def tokenizer_digest(self) -> str:
        """That of the first part that has one; "" without."""
        return next(filter(None, (getattr(part, "tokenizer_digest", "") for part in self.parts.values())), "")

    @property
    def tokenizer(self) -> str:
        """The name of the tokenizer of the first part that has one; "" without."""
        return next(filter(None, (getattr(part, "tokenizer", "") for part in self.parts.values())), "")

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The views of every part, drawn from the same keys."""
        return self._each(lambda part: part(keys, batch))

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The inputs of every part, without randomness."""
        return self._each(lambda part: part.evaluation(batch))

    def plain(self, batch: Batch) -> Array:
        """That of the first part."""
        first: Augment = next(iter(self.parts.values()))
        return first.plain(batch)

    def panel(self, views: Views) -> dict[str, Panel]:
        """What each part shows of its own; the rows of all panels are the same records."""
        shown = {name: part.panel(own(views, name)) for name, part in self.parts.items()}
        return {_told(name, key): panel for name, panels in shown.items() for key, panel in panels.items()}

    def check(self, records: Iterable[Mapping[str, Any]]) -> None:
        """What each part refuses."""
        records = list(records)
        for part in self.parts.values():
            getattr(part, "check", lambda records: None)(records)

    def units(self, batch: Mapping[str, Any]) -> Units:
        """What every part counts."""
        return reduce(or_, (units(part, batch) for part in self.parts.values()))

    def host(self, mode: str = "antialias") -> Any:
        """The crops of the part that leaves any to the host: that of pictures."""
        for part in self.parts.values():
            if hasattr(part, "host"):
                return part.host(mode)
        raise UserError("data.crop=host: no part of augment has pictures to crop; set data.crop=device")

    def _each(self, act: Callable[[Augment], Mapping[str, Array]]) -> dict[str, Array]:
        made = {name: act(part) for name, part in self.parts.items()}
        return {f"{name}/{key}": x for name, arrays in made.items() for key, x in arrays.items()}


def own(views: Mapping[str, Array], part: str) -> dict[str, Array]:
    """The views of one part, under the names that it gave them.

    >>> own({"image/image": 1, "text/tokens": 2}, "text")
    {'tokens': 2}
    """
    return {key.removeprefix(f"{part}/"): x for key, x in views.items() if key.startswith(f"{part}/")}


def _told(part: str, key: str) -> str:
    return part if key in (part, "views") else f"{part} {key}"
