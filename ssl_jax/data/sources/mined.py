"""Hard negatives that `ssl-jax data mine` found, beside the records that they were found for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data.sources.arrays import read_npz
from ssl_jax.data.sources.base import Record, Source
from ssl_jax.data.sources.subset import Chosen, require_source
from ssl_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class Mined(Chosen):
    """The records of `source`, each with `negative_1` to `negative_<count>`: passages of other records.

    negatives: the file that `ssl-jax data mine` wrote for this source.
    count: how many of each record, the nearest first.
    skip: how many of the nearest are passed over: some of them are right answers that nobody marked.

    Raises:
      UserError: no such file, one that was made of other records or holds fewer, or records without a `passage`.
    """

    source: Source
    negatives: str
    count: int = 1
    skip: int = 0
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)
    found: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        total, said = len(require_source(self.source)), read_npz(Path(self.negatives), {})
        found = said.get("negatives", np.zeros((0, 0), np.int32))
        again = "make it with ssl-jax data mine, from this source"
        if found.ndim != 2 or found.shape[0] != total or found.dtype.kind not in "iu":
            raise UserError(f"{self.negatives!r} holds no negatives of {total} records; {again}")
        if str(said.get("source")) != self.source.fingerprint():
            raise UserError(f"{self.negatives!r} was made when the records were others; {again}")
        if found.min(initial=0) < 0 or found.max(initial=0) >= total:
            raise UserError(f"{self.negatives!r} names records beyond the {total} that there are; {again}")
        if not 0 < self.count <= found.shape[1] - self.skip or self.skip < 0:
            raise UserError(
                f"count={self.count} negatives after skip={self.skip} of the {found.shape[1]} that {self.negatives!r} holds for "
                "each record; use fewer, or mine with a larger --depth"
            )
        object.__setattr__(self, "found", found[:, self.skip : self.skip + self.count])
        self._choose(np.arange(total))
        if hasattr(self.source, "batch"):
            object.__setattr__(self, "batch", partial(_batch, self.source.batch, self.found))

    def __getitem__(self, index: int) -> Record:
        passages = [self.source[int(i)]["passage"] for i in self.found[index]]
        return super().__getitem__(index) | _named(passages)

    @staticmethod
    def example(source: Record, count: Any = 1, **_: object) -> Record:
        """That of the inner source, with its passage for each negative."""
        return source | _named([source["passage"]] * count)

    def fingerprint(self) -> str:
        """SHA-256 of the inner fingerprint and the negatives."""
        return hashlib.sha256(self.source.fingerprint().encode() + self.found.astype("<i8").tobytes()).hexdigest()


def _named(passages: Sequence[Any]) -> dict[str, Any]:
    return {f"negative_{i}": passage for i, passage in enumerate(passages, 1)}


def _batch(batch: Callable[[np.ndarray], Record], found: np.ndarray, ids: np.ndarray) -> Record:
    return batch(ids) | _named([batch(column)["passage"] for column in found[ids].T])
