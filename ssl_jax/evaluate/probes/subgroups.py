"""Subgroups: is the linear head as good for every group of records?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.probes.linear import head_logits
from ssl_jax.evaluate.subgroups import LEAST, by_group


@dataclass(frozen=True)
class Probe:
    """Accuracy of the head of `linear` in each group of test records, by the field `group`; "label" makes groups of the classes.

    Nothing is said of a group with fewer than `least` records. Groups are not seen in training.
    """

    group: str = "label"
    least: int = LEAST
    seed: int = 0

    columns: ClassVar = (
        {"title": "worst group", "value": "worst", "unit": "percent"},
        {"title": "gap", "value": "gap", "unit": "percent", "better": "lower"},
    )

    @property
    def fields(self) -> tuple[str, ...]:
        """The field that makes the groups."""
        return () if self.group == "label" else (self.group,)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return f"subgroups: the linear head, by {self.group}, groups of {self.least} test records and more, Wilson intervals"

    def run(self, split: Split) -> dict[str, Any]:
        """`worst` accuracy with its `worst_group` and `interval`, `gap` between best and worst; each of the `groups` with
        interval and `n`; `refused` are those too small to say anything of."""
        groups = _classes(split) if self.group == "label" else split.test.fields[self.group]
        if groups.ndim != 1:
            raise UserError(
                f"subgroups: {self.group!r} has shape {list(groups.shape[1:])} in a record; name one value each"
            )
        right = head_logits(split, seed=self.seed)[0].argmax(-1) == split.test.labels
        found = by_group(right, groups, self.least)
        return found | {"interval": found["groups"][found["worst_group"]]["interval"], "note": _note(found["refused"])}


def _classes(split: Split) -> np.ndarray:
    """The class of each test record, by name where it has one."""
    labels = split.test.labels
    return np.array(split.names)[labels] if len(split.names) > labels.max() else labels


def _note(refused: dict[str, int]) -> str:
    return f"too few records to say anything of the groups {', '.join(refused)}" if refused else ""
