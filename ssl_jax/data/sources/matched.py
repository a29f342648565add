"""Two sets of labelled records as one of pairs, which have the label in common, and nothing else."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.data.sources.base import Record, values_of
from ssl_jax.errors import UserError

_ODD = 0x9E3779B1


@dataclass(frozen=True, eq=False)
class Matched:
    """The records of `source`, each with the fields of a record of `other` that has the same `label`: always the same one.

    Fields that both have are those of `source`. Pictures and sounds of the same classes make pairs so; what is learned from them
    is the classes. Labels of `other` that `source` has not are left out.

    Raises:
      UserError: a label of `source` has no record in `other`.
    """

    source: Any
    other: Any

    def __post_init__(self) -> None:
        if missing := set(np.unique(self._labels(self.source))) - set(self._by_label):
            raise UserError(f"label {min(missing)} of source has no record in other; both need the same classes")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record = self.source[index]
        alike = self._by_label[int(record["label"])]
        partner = self.other[int(alike[(index * _ODD >> 8) % len(alike)])]
        return {name: value for name, value in partner.items() if name not in self._hidden} | record

    def values(self, name: str) -> np.ndarray | None:
        """All values of a field of `source`, where they cost no reading."""
        return values_of(self.source, name)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of `label`."""
        return tuple(self.source.classes)

    @property
    def tokenizer_digest(self) -> str:
        """That of `source`."""
        return str(getattr(self.source, "tokenizer_digest", ""))

    def fingerprint(self) -> str:
        """SHA-256 of those of both."""
        return hashlib.sha256(f"{self.source.fingerprint()} {self.other.fingerprint()}".encode()).hexdigest()

    @functools.cached_property
    def _by_label(self) -> dict[int, np.ndarray]:
        labels = self._labels(self.other)
        return {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}

    @property
    def _hidden(self) -> tuple[str, ...]:
        """The labels of `other`, which are none here."""
        return ("label", *getattr(self.other, "labels", {}))

    @staticmethod
    def _labels(source: Any) -> np.ndarray:
        """All labels [N]: told, or read once."""
        told = values_of(source, "label")
        return np.array([source[i]["label"] for i in range(len(source))]) if told is None else np.asarray(told)
