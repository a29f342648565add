"""Queries and what lies nearest to them, a row for each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_jax.data.panels import Clips, Panel, Pictures, Signals, Texts
from ssl_jax.report.panels.draw import draw, regrouped
from ssl_jax.report.panels.paper import INK, LINES, Tag
from ssl_jax.report.plots import class_name

if TYPE_CHECKING:
    from PIL import Image

NEAREST = {Pictures: 6, Texts: 2, Signals: 3, Clips: 3}  # so many stand beside a query
MOST = max(NEAREST.values())


def neighbours(
    panel: Panel, columns: int, labels: np.ndarray | None = None, classes: Sequence[str] = ()
) -> Image.Image:
    """A picture of `panel`, whose rows are a query and then its neighbours, nearest first: `columns` rows for each query.

    Args:
      labels: int [R], of the rows; the name under a neighbour of another class than the query's is set apart by colour and
        a sign.
      classes: names of the labels, their numbers if there are none.
    """
    shown = min(columns, 1 + NEAREST[type(panel)])
    captions = ("query", "nearest", *(f"{k}." for k in range(2, columns)))
    rows = first_columns(regrouped(panel, columns, captions), shown)
    if labels is None:
        return draw(rows, lead=True)
    names = np.asarray(labels).reshape(-1, columns)[:, :shown]
    note = f"{np.mean(names[:, 1:] == names[:, :1]):.0%} of the neighbours shown have the class of their query."
    return draw(replace(rows, note=note), [_tags(row, classes) for row in names], lead=True)


def first_columns(panel: Panel, count: int) -> Panel:
    """`panel` with its first `count` columns only."""
    rows = [row[:count] for row in panel.rows] if isinstance(panel, Texts) else panel.rows[:, :count]
    kept: dict[str, Any] = {"rows": rows, "captions": panel.captions[:count]}
    if isinstance(panel, Signals) and panel.hidden is not None:
        kept["hidden"] = panel.hidden[:, :count]
    return replace(panel, **kept)


def _tags(labels: np.ndarray, classes: Sequence[str]) -> list[Tag]:
    query = labels[0]
    return [Tag(class_name(n, classes), INK) if n == query else Tag(f"≠ {class_name(n, classes)}", LINES[1])
            for n in labels]  # fmt: skip
