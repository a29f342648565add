"""Classes of several splits are one set: numbers of labels are compared by the names that the sources have for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssl_jax.data.pipeline import BadRecords, once
from ssl_jax.data.sources.base import Record, labels_named, values_of
from ssl_jax.data.sources.subset import Labelled
from ssl_jax.errors import UserError


def class_names(source: Any, label: str = "label") -> tuple[str, ...]:
    """The names of the classes in the field `label`, or (): `source.labels[label]`, and `source.classes` for "label"."""
    named = labels_named(source)
    return tuple(named.get(label, ()) or (getattr(source, "classes", ()) if label == "label" else ()))


def numbered_alike(train: Any, test: Any, label: str = "label") -> Any:
    """`test` with the numbers that `train` has for the classes of the same names; as it is where either has no names.

    Raises:
      UserError: a class that `train` does not have, or one name for two classes.
    """
    known, own = class_names(train, label), class_names(test, label)
    if not known or not own or known == own:
        return test
    _check_names(known, own)
    return Renumbered(test, label, known, np.array([known.index(name) for name in own], np.int32))


class Renumbered:
    """A source whose labels in the field `label` are `numbers` [its classes] of those that `source` has; all else stays."""

    def __init__(self, source: Any, label: str, names: tuple[str, ...], numbers: np.ndarray) -> None:
        self.source, self.label, self.numbers = source, label, numbers
        self.labels = labels_named(source) | ({label: names} if label != "label" else {})
        self.classes = names if label == "label" else tuple(getattr(source, "classes", ()))
        if label in self.labels:
            self.labels[label] = names
        if hasattr(source, "batch"):
            self.batch = lambda ids: self._renumbered(source.batch(ids))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        return self._renumbered(self.source[index])

    def name_of(self, index: int) -> str:
        """What the inner source calls the record."""
        return self.source.name_of(index) if hasattr(self.source, "name_of") else str(index)

    def values(self, name: str) -> np.ndarray | None:
        """All values of a field, where the inner source gives them without reading records."""
        found = values_of(self.source, name)
        return self._numbers(found) if found is not None and name == self.label else found

    def fingerprint(self) -> str:
        """That of the source: the same records, of the same classes."""
        return self.source.fingerprint()

    def _renumbered(self, record: Record) -> Record:
        return record | {self.label: self._numbers(record[self.label])} if self.label in record else record

    def _numbers(self, labels: np.ndarray) -> np.ndarray:
        labels = np.asarray(labels)
        return np.where(labels < 0, labels, self.numbers[np.maximum(labels, 0)]).astype(np.int32)


def labelled(source: Any, label: str = "label") -> Any:
    """The records of a source that have a label, where it lists all labels and some are -1, which is none."""
    found = values_of(source, label)
    some = found is not None and found.ndim == 1 and bool(np.any(found == -1) and np.any(found >= 0))
    return Labelled(source, label) if some else source


def labels_of(source: Any, label: str = "label", bad: BadRecords | None = None) -> np.ndarray | None:
    """All labels that can be read [N], without reading pictures where the source has them apart; None where there are none."""
    given = values_of(source, label)
    if given is not None:
        return given
    found = [batch[label][valid] for batch, valid in once(source, min(256, len(source)), bad) if label in batch]
    return np.concatenate(found) if found else None


def _check_names(known: tuple[str, ...], own: tuple[str, ...]) -> None:
    for names, split in ((known, "probe"), (own, "test")):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"the {split} split has two classes named {twice!r}; give them different names")
    missing = [name for name in own if name not in known]
    if missing:
        raise UserError(
            f"the test split has the class {missing[0]!r}{_more(len(missing) - 1)}, and the probe split has none of that "
            f"name (it has {', '.join(known[:10])}{', ...' if len(known) > 10 else ''}); bring both to the same classes"
        )


def _more(count: int) -> str:
    return f" and {count} more" if count else ""
