"""The linear probe for several labels of the same records at once: what moves, which way, how fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes.linear import Choice, head_logits
from ssl_jax.evaluate.readings import OWN, Reading, reading_named
from ssl_jax.objectives.base import Column


@dataclass(frozen=True)
class Probe:
    """A head as that of `linear` for each of the `fields` of the records, which hold labels int [N] from 0.

    reading: what it is fitted on: "own", or e.g. "frames" to see what is left of each label when frames are seen one by one.
    """

    fields: Sequence[str] = ("label",)
    reading: str = "own"
    seed: int = 0

    labelled: ClassVar = False
    chosen: ClassVar = ("C",)

    @property
    def needs(self) -> tuple[Reading, ...]:
        """What it is fitted on, beside the encoder's own features."""
        return () if self.reading == str(OWN) else (reading_named(self.reading),)

    @property
    def columns(self) -> tuple[Column, ...]:
        """One for each label."""
        of = "" if self.reading == str(OWN) else f" ({self.reading})"
        return tuple({"title": f"{name}{of}", "value": name, "unit": "percent"} for name in self.fields)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        told = ", ".join(self.fields)
        return f"labels: logistic regression on {self.reading} features for each of {told}, C as in the linear probe"

    def run(self, split: Split) -> dict[str, Any]:
        """Test accuracy by label; `intervals`, `chances` and the chosen `C` likewise."""
        seen = split.readings[self.needs[0]] if self.needs else split
        found = {name: self._measured(seen, split, name) for name in self.fields}
        rights = {name: right["accuracy"] for name, (right, _) in found.items()}
        told = {key: {name: right[key] for name, (right, _) in found.items()} for key in ("interval", "chance")}
        strengths = {name: choice.strength for name, (_, choice) in found.items()}
        return rights | {"intervals": told["interval"], "chances": told["chance"], "C": strengths}

    def _measured(self, seen: Split, split: Split, name: str) -> tuple[dict[str, Any], Choice]:
        train, test = (_labelled(x, part, name) for x, part in ((seen.train, split.train), (seen.test, split.test)))
        classes = int(max(train.labels.max(), test.labels.max())) + 1
        logits, choice = head_logits(Split(train, test, classes), seed=self.seed)
        return accuracy(logits.argmax(-1), test.labels, self.seed), choice


def _labelled(seen: Features, part: Features, name: str) -> Features:
    """The features with the field `name` of the records for a label."""
    return seen._replace(y=part.fields[name].astype("int32"))
