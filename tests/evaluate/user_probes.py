"""Probes of a user's own package."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class BothNorms:
    """The mean squared length of the test features of two encoders."""

    encoders: ClassVar = ("student", "wide")
    labelled: ClassVar = False
    columns: ClassVar = ({"title": "first", "value": "student", "unit": "number"},)
    protocol: ClassVar = "first: mean squared length"

    def run(self, split):
        return {name: float((tower.test.x**2).sum(1).mean()) for name, tower in split.towers.items()}


@dataclass(frozen=True)
class Shape:
    """Takes every token."""

    tokens: ClassVar = True
    columns: ClassVar = ({"title": "tokens", "value": "count", "unit": "number"},)
    protocol: ClassVar = "tokens: how many"

    def run(self, split):
        return {"count": split.train.x.shape[1]}
