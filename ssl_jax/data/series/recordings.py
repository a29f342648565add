"""Recordings: what a file of series holds before it is cut into windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from ssl_jax.errors import UserError


class Recording(NamedTuple):
    """Values float32 [T, C], NaN where one is missing; a `label` for all of it, or one for every step; `marks` bool [T] where
    something is wrong. A recording that cannot be read has a `reason` and no values."""

    name: str
    values: np.ndarray
    label: str | int | np.ndarray | None = None
    marks: np.ndarray | None = None
    reason: str = ""


def unreadable(name: str, reason: str) -> Recording:
    """What stands for a recording that cannot be read."""
    return Recording(name, np.zeros((0, 0), np.float32), reason=reason)


def number(text: str) -> float:
    """A value as it is written; NaN for nothing, `?`, `NA` and `NaN`. ValueError for others."""
    word = text.strip()
    if word.lower() in ("", "?", "na", "nan", "null", "none"):
        return float("nan")
    return float(word)


def classes_of(recordings: Iterable[Recording]) -> tuple[str, ...]:
    """The names of all labels in their order; () where labels are whole numbers. UserError for both kinds at once."""
    kinds = set(_labels(recordings))
    names = sorted(kind for kind in kinds if isinstance(kind, str))
    if names and len(names) < len(kinds):
        raise UserError(f"labels are names, {names[0]!r} among them, and numbers; write all of them one way")
    return tuple(names)


def _labels(recordings: Iterable[Recording]) -> Iterator[str | int]:
    for recording in recordings:
        if isinstance(recording.label, np.ndarray):
            yield from (value.item() for value in np.unique(recording.label))
        elif recording.label is not None:
            yield recording.label
