"""What is shown to people, as data: rows of examples, columns of what is shown of each. `report/panels/` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jax import Array


@dataclass(frozen=True)
class Pictures:
    """`rows` [R, K, h, w, C] in [0, 1], with one caption for each of the K columns, and a sentence under them."""

    rows: np.ndarray | Array
    captions: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Texts:
    """`rows` [R][K], each a sequence of pieces (text, mark).

    Pieces follow each other as they stand, since spaces are theirs; where none holds one, they are set a space apart.

    A mark says what is set apart, and is written in the legend: "" for plain text, "hidden", "right", "wrong", "padding",
    or any other word.
    """

    rows: Sequence[Sequence[Sequence[tuple[str, str]]]]
    captions: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Signals:
    """`rows` [R, K, T] or [R, K, T, C], sampled `rate` times in a `unit`; where `hidden` [R, K, T] is True, they are shaded."""

    rows: np.ndarray | Array
    captions: tuple[str, ...] = ()
    note: str = ""
    rate: float = 1.0
    unit: str = "sample"
    hidden: np.ndarray | None = None


@dataclass(frozen=True)
class Clips:
    """`rows` [R, K, T, h, w, C] in [0, 1]: frames are shown one beside the other."""

    rows: np.ndarray | Array
    captions: tuple[str, ...] = ()
    note: str = ""


Panel = Pictures | Texts | Signals | Clips
KINDS: dict[int, type[Signals] | type[Pictures] | type[Clips]] = {4: Signals, 5: Pictures, 6: Clips}  # by their axes


def panel_of(rows: np.ndarray | Array, captions: tuple[str, ...] = (), note: str = "") -> Panel:
    """Rows [R, K, *axes, C] of series, pictures or clips, as a panel."""
    return KINDS[rows.ndim](rows, captions, note)
