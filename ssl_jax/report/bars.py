"""Amounts beside each other as an SVG: a bar for each row, cut into named parts."""

from __future__ import annotations

from collections.abc import Mapping

from ssl_jax.report.html import Html, el
from ssl_jax.report.panels.paper import LINES

WIDTH, LEFT, RIGHT, TOP, ROW, LETTERS = 640, 96, 84, 34, 26, 13


def bars(rows: Mapping[str, Mapping[str, float]], alt: str, title: str, unit: str) -> Html:
    """The drawing; `rows[row][part]` are amounts of one unit, 0 or more, and every row has the same parts."""
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    colours = dict(zip(parts, LINES, strict=False))
    longest = max((sum(row.values()) for row in rows.values()), default=0.0) or 1.0
    height = TOP + ROW * (len(rows) + 1)
    return el(
        "svg",
        _text(0, 16, title, font_size=15, font_weight=600),
        [_bar(TOP + ROW * i, name, row, longest, unit, colours) for i, (name, row) in enumerate(rows.items())],
        [_key(LEFT + 150 * i, height - 8, part, colours[part]) for i, part in enumerate(parts)],
        viewBox=f"0 0 {WIDTH} {height}",
        class_="chart",
        role="img",
        aria_label=alt,
        font_size=LETTERS,
        fill="currentColor",
    )


def _bar(
    y: float, name: str, row: Mapping[str, float], longest: float, unit: str, colours: Mapping[str, str]
) -> list[Html]:
    scale, x, drawn = (WIDTH - LEFT - RIGHT) / longest, float(LEFT), [_text(LEFT - 8, y + 15, name, text_anchor="end")]
    for part, amount in row.items():
        drawn.append(el("rect", x=f"{x:.1f}", y=y, width=f"{amount * scale:.1f}", height=ROW - 8, fill=colours[part]))
        x += amount * scale
    return [*drawn, _text(x + 6, y + 15, f"{sum(row.values()):.3g} {unit}", opacity=0.75)]


def _key(x: float, y: float, part: str, colour: str) -> list[Html]:
    return [el("rect", x=x, y=y - 10, width=12, height=12, fill=colour), _text(x + 18, y, part)]


def _text(x: float, y: float, words: str, **attributes: object) -> Html:
    return el("text", words, x=f"{x:.1f}", y=f"{y:.1f}", **attributes)
