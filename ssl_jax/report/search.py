"""What a search found as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.panels import Panel, Pictures, Signals
from ssl_jax.evaluate.encoders import Found
from ssl_jax.evaluate.search import Hits
from ssl_jax.report.figures import numbers
from ssl_jax.report.html import Html, document, el, picture, table
from ssl_jax.report.panels.draw import describe, draw, regrouped, with_rows
from ssl_jax.report.panels.paper import Tag, png

COLUMNS = 5


def page(hits: Hits, query: str, source: Any) -> str:
    """The query, what was found as a picture, and as a table."""
    style = resources.files("ssl_jax.report").joinpath("page.css").read_text(encoding="utf-8")
    records = [BadRecords(1.0).read(source, i)[1] for i in hits.ids]
    captions = [
        f"{rank}. {text or name}" for rank, (name, text) in enumerate(zip(hits.names, hits.texts, strict=True), 1)
    ]
    read = f"{hits.asked.name} of the query, {hits.searched.name} of the index"
    told = f"The {len(hits.ids)} nearest of {hits.among:,} records by cosine: {read}."
    body = (
        el("header", el("p", "Search", class_="kind"), el("h1", query), el("p", told, class_="summary")),
        el("section", el("h2", "Asked for"), *_drawn(hits.asked, [hits.record], [query])),
        el("section", el("h2", "Found"), *_drawn(hits.searched, records, captions), _table(hits)),
    )
    return document(f"Search: {query}", style, *body)


def _table(hits: Hits) -> Html:
    rows = zip(hits.names, hits.texts, hits.cosines, strict=True)
    return table(
        ("rank", "name", "text", "cosine"), [(i, name, text, f"{c:.3f}") for i, (name, text, c) in enumerate(rows, 1)]
    )


def _drawn(found: Found, records: Sequence[Mapping[str, Any]], captions: Sequence[str]) -> list[Html]:
    """What the encoder is given of records, as a grid with a caption under each."""
    given = found.encoder.preprocess(numbers(records))
    feeder = getattr(found.encoder.preprocess, "__self__", found.opened.objective.augment)
    panels: Mapping[str, Panel] = feeder.panel({name: x[:, None] for name, x in given.items()})
    return [_figure(panel, captions) for panel in panels.values()]


def _figure(panel: Panel, captions: Sequence[str]) -> Html:
    columns = min(COLUMNS if isinstance(panel, Pictures | Signals) else 1, len(captions))
    whole = -(-len(captions) // columns) * columns
    shown = regrouped(_filled(panel, whole), columns)
    words = [Tag(caption) for caption in [*captions, *[""] * (whole - len(captions))]]
    tags = [words[i : i + columns] for i in range(0, whole, columns)]
    return picture(png(draw(shown, tags)), f"{describe(shown)} {'; '.join(captions)}", wide=True)


def _filled(panel: Panel, count: int) -> Panel:
    """A panel with its last row repeated up to so many."""
    at = np.minimum(np.arange(count), len(panel.rows) - 1)
    return with_rows(panel, lambda rows: rows[at] if isinstance(rows, np.ndarray) else [rows[i] for i in at])
