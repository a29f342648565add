"""Probes as objects: what a probe is, how it is made from what the recipe says of it, and what it can measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Protocol

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Split
from ssl_jax.objectives.base import Column
from ssl_jax.recipe.probes import Entry, probe_component, probe_name


class Probe(Protocol):
    """A measurement of features. `ssl_jax/evaluate/probes/<name>.py` with a dataclass `Probe` is the probe `<name>`.

    Its fields that are also in `Settings` are set from there, unless the recipe gives them. `columns` are those of the table.
    Optional attributes: `labelled = False` for one that needs no labels; `tokens = True` for one that takes features
    [N, T, D]; `encoders = ("image", "text")` for one that compares what these encoders make of the same records, and finds
    them in `split.towers`.
    """

    columns: tuple[Column, ...]
    protocol: str

    def run(self, split: Split) -> dict[str, Any]:
        """Named numbers (and what explains them), ready for JSON."""
        ...


def probes_of(entries: Iterable[Entry], shared: Mapping[str, Any], allow: tuple[str, ...] = ()) -> dict[str, Probe]:
    """The probes by name. `shared` are the settings that a probe with fields of these names is given.

    Raises:
      UserError: an unknown name, a class that is no probe or was not allowed, or one name for two probes.
    """
    named: dict[str, Entry] = {}
    for entry in entries:
        if named.setdefault(probe_name(entry), entry) != entry:
            raise UserError(
                f"evaluate.probes: two are named {probe_name(entry)!r}; give one another name: dict(..., name='other')"
            )
    return {name: _built(entry, shared, allow) for name, entry in named.items()}


def encoders_of(probe: Probe) -> tuple[str, ...]:
    """The encoders that a probe compares; () for one that measures any encoder alone."""
    return tuple(getattr(probe, "encoders", ()))


def refusal(probe: Probe, split: Split) -> str | None:
    """Why `probe` cannot measure `split`, or None where it can."""
    parts = {"probe": split.train, "test": split.test}
    bare = [name for name, part in parts.items() if part.y is None]
    if bare and getattr(probe, "labelled", True):
        return f"the {bare[0]} split has no labels; name a labelled source in data.{bare[0]}"
    if split.train.x.ndim != 2 and not getattr(probe, "tokens", False):
        shape = " x ".join(map(str, split.train.x.shape[1:]))
        return (
            f"the encoder gives {shape} numbers for a record, and this probe takes one row; evaluate an encoder whose "
            "`method` pools them, or use a probe with `tokens = True`"
        )
    return None


def _built(entry: Entry, shared: Mapping[str, Any], allow: tuple[str, ...]) -> Probe:
    component = probe_component(entry, allow)
    kind = component.resolve()
    taken = {f.name: shared[f.name] for f in fields(kind) if f.name in shared} if is_dataclass(kind) else {}
    return replace(component, options=taken | dict(component.options)).build()
