"""One way to draw what is shown to people, whatever kind of record it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_jax.data.panels import Clips, Panel, Pictures, Signals, Texts
from ssl_jax.report.panels import clips, pictures, signals, texts
from ssl_jax.report.panels.paper import Tags

if TYPE_CHECKING:
    from PIL import Image

KINDS: dict[type, Any] = {Pictures: pictures, Texts: texts, Signals: signals, Clips: clips}


def draw(panel: Panel, tags: Tags = (), *, lead: bool = False) -> Image.Image:
    """A picture of `panel`: captions over the columns, `tags` under the cells, the note under everything.

    lead: the first column stands apart from the others.
    """
    return KINDS[type(panel)].draw(panel, tags, lead=lead)


def describe(panel: Panel) -> str:
    """What `draw` shows, in words, for who does not see it."""
    columns = f" Columns: {', '.join(panel.captions)}." if panel.captions else ""
    return KINDS[type(panel)].describe(panel) + columns


def first_rows(panel: Panel, count: int) -> Panel:
    """`panel` with its first `count` rows only."""
    return with_rows(panel, lambda rows: rows[:count])


def regrouped(panel: Panel, columns: int, captions: Sequence[str] = ()) -> Panel:
    """The first column of `panel` in rows of `columns` cells: [R * columns, K] -> [R, columns]."""

    def group(rows: Any) -> Any:
        if isinstance(rows, np.ndarray):
            return rows[:, 0].reshape(-1, columns, *rows.shape[2:])
        firsts = [row[0] for row in rows]
        return [firsts[i : i + columns] for i in range(0, len(firsts), columns)]

    return replace(with_rows(panel, group), captions=tuple(captions))


def with_rows(panel: Panel, change: Any) -> Panel:
    """`panel` after `change` of all that has a row for each example."""
    changed = {"rows": change(panel.rows if isinstance(panel, Texts) else np.asarray(panel.rows))}
    if isinstance(panel, Signals) and panel.hidden is not None:
        changed["hidden"] = change(np.asarray(panel.hidden))
    return replace(panel, **changed)
