"""Features by row, joined and normalised for the rows that are looked at: what is mapped from a file is never copied whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

_ROWS = 4096  # rows that are looked at together for the moments
Change = Callable[[np.ndarray], np.ndarray]


class Rows(Protocol):
    """Features by row: an array [N, ...], in memory or mapped, or several `Beside` each other."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Beside:
    """Arrays [N, F_i] side by side as one of [N, sum F_i], joined for the rows that are looked at."""

    parts: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([part[rows] for part in self.parts], axis=-1)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows after `change`, for the rows that are looked at."""

    rows: Rows
    change: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.change(self.rows[rows])


@dataclass(frozen=True, eq=False)
class Some:
    """The rows `ids` of others."""

    rows: Rows
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.rows[self.ids[rows]]


class Norm(NamedTuple):
    """What is done to batches of [B, F] before a head: while it learns, and when it is used."""

    learning: Change
    used: Change


def unchanged(rows: Rows) -> Norm:
    """Features as they are (DINOv2)."""
    return Norm(_same, _same)


def standardised(rows: Rows) -> Norm:
    """`(x - mean) / std` with the moments of all `rows`."""
    change = _standard(rows)
    return Norm(change, change)


def batch_normalised(rows: Rows) -> Norm:
    """BatchNorm without scale and bias (MAE's linear probe): by the moments of a batch while learning, of all `rows` after.

    Fidelity: MAE's are running averages over the last batches, which are about those of all rows.
    """
    return Norm(_by_its_batch, _standard(rows))


NORMS: dict[str, Callable[[Rows], Norm]] = {
    "none": unchanged,
    "train": standardised,
    "batch": batch_normalised,
}


def moments(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [F] of all rows, in float64."""
    parts = [np.arange(start, min(start + _ROWS, len(rows))) for start in range(0, len(rows), _ROWS)]
    mean = sum(rows[part].sum(axis=0, dtype=np.float64) for part in parts) / len(rows)
    square = sum(np.square(rows[part] - mean).sum(axis=0) for part in parts) / len(rows)
    return mean, np.sqrt(square)


def _standard(rows: Rows) -> Change:
    mean, std = moments(rows)
    constant = std <= 1e-6 * (1 + np.abs(mean))  # such a feature is 0 everywhere
    shift, scale = mean.astype(np.float32), np.where(constant, 0, 1 / np.where(constant, 1, std)).astype(np.float32)
    return lambda x: (x - shift) * scale


def _by_its_batch(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-6)


def _same(x: np.ndarray) -> np.ndarray:
    return x
