"""Probes as objects: what a probe is, how it is made from what the recipe says of it, and what it can measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Protocol

from ssl_jax.data.bad import BadRecords
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.readings import Reading
from ssl_jax.objectives.base import Column
from ssl_jax.recipe.probes import Entry, probe_component, probe_name


class Probe(Protocol):
    """A measurement of features. `ssl_jax/evaluate/probes/<name>.py` with a dataclass `Probe` is the probe `<name>`.

    Its fields that are also in `Settings` are set from there, unless the recipe gives them. `columns` are those of the table.
    Optional attributes, all of the class or made from its fields:

    * `labelled = False`: it needs no labels.
    * `chosen = ("C", "held_out")`: the keys of its result, at any depth, that hold what it chose; () for one without a choice.
      The labels of the test split may not move them: a test holds every probe of `evaluate/probes/` to it.
    * `tokens = True`: it takes features [N, T, D] where an encoder's own are such.
    * `encoders = ("image", "text")`: it compares what these encoders make of the same records, and finds them in `split.towers`.
    * `asks = ("text_embedding",)`: encoders of texts that read sentences of the probe, `split.read["text_embedding"](texts)`;
      they need not be given the records.
    * `needs = (Reading("tokens"), Reading("class", -2))`: layers and poolings beside the encoder's own features, which it finds
      in `split.readings[Reading("tokens")].train.x` where the encoder has them. All readings of all probes are made in one pass.
      A row whose encoder has none of them is left out for this probe, without an error.
    * `fields = ("group", "mask")`: fields of the records that it finds in `split.test.fields["group"]`, of any type and shape. No
      such field is a refusal before the long work.
    * `checked(train, test) -> str | None`: why it cannot measure these sources (`k` larger than the bank, an empty group), told
      before any feature is computed. Only what the sources say without being read: lengths, `labels_of`, `values_of`.

    Encoders are never given labels, but are given fields: `again` of `Split` makes features of changed records.
    """

    columns: tuple[Column, ...]
    protocol: str

    def run(self, split: Split) -> dict[str, Any]:
        """Named numbers (and what explains them), ready for JSON.

        `interval` is the 95 % interval [low, high] of the first column's value (`evaluate/intervals.py`). Under `records` may
        lie arrays with one row for each test record, in the order of `split.test`: `correct` (0 or 1, or a score whose mean is
        the measure), `predicted`, `probability`, ... They are no part of the JSON: `eval/records/<probe>.npz` has them as
        `<row>/<name>`, beside `<row>/ids`, for pictures and comparisons of runs. With `records["correct"]` and without an
        `interval` the suite adds it.
        """
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


def asks_of(probe: Probe) -> tuple[str, ...]:
    """The encoders that read sentences of the probe."""
    return tuple(getattr(probe, "asks", ()))


def needs_of(probe: Probe) -> tuple[Reading, ...]:
    """The readings that a probe asks for beside an encoder's own features."""
    return tuple(getattr(probe, "needs", ()))


def fields_of(probe: Probe) -> tuple[str, ...]:
    """The fields of the records that a probe asks for."""
    return tuple(getattr(probe, "fields", ()))


def unmeasurable(probe: Probe, train: Any, test: Any) -> str | None:
    """Why `probe` cannot measure these sources, as far as they say before any feature is made; None where it may."""
    for part, source in (("probe", train), ("test", test)):
        record = BadRecords(1.0).read(source, 0)[1] if fields_of(probe) else {}
        for name in fields_of(probe):
            if name not in record:
                return f"it needs the field {name!r}, and records of data.{part} have {', '.join(sorted(record))}"
    checked = getattr(probe, "checked", None)
    return None if checked is None else checked(train, test)


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
