"""Another source, each record of which is looked at when it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ssl_jax.data.sources.base import Record
from ssl_jax.errors import UserError

Check = Callable[[Iterable[Mapping[str, Any]]], None]


class Checked:
    """The records of `source`; ValueError for one that a check refuses, which makes it a bad record. All else is as there."""

    def __init__(self, source: Any, checks: Sequence[Check]) -> None:
        self.source, self.checks = source, tuple(checks)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        return self._checked(self.source[index])

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "source"), name)

    def _checked(self, record: Record) -> Record:
        try:
            for check in self.checks:
                check([record])
        except UserError as error:
            raise ValueError(str(error)) from error
        return record


class CheckedColumns(Checked):
    """The same of a source that gathers many records at once."""

    def batch(self, ids: np.ndarray) -> Record:
        """The records `ids` [B], each field stacked to [B, ...]."""
        return self._checked(self.source.batch(ids))


def checked(source: Any, checks: Sequence[Check]) -> Checked:
    """`source` with `checks`, gathering at once where it does."""
    return (CheckedColumns if hasattr(source, "batch") else Checked)(source, checks)
