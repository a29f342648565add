"""Lines as SVG inside a page: letters of 12 pixels or more on a screen of 360, in the page's own ink, light or dark.

A drawing is 340 units wide and stands in a column of at least 320 pixels, so that 13 units are 12 pixels. Lines differ by colour
and by dashes (Okabe and Ito 2008), and the legend under the axes names each with its last value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ssl_jax.report.html import Html, el
from ssl_jax.report.panels.paper import LINES
from ssl_jax.report.plots import FEW_POINTS, number, smoothed

WIDTH, HEIGHT = 340, 150  # units of the whole drawing, and of the axes
LEFT, RIGHT, TOP, LETTERS, ROW = 52, 20, 30, 13, 19
POINTS = 240  # of a line that are drawn: more than its pixels on a phone
COLOURS = (*LINES[:6], "currentColor")
DASHES = (None, "7 3", "2 3", "9 3 2 3", "5 2", "1 2", "12 4")
LONGEST = 44  # letters of a row of the legend


class Line(NamedTuple):
    """A line by its name; those of one name, such as runs that differ in seed, look alike and have one row of the legend."""

    name: str
    x: np.ndarray
    y: np.ndarray


class Axes(NamedTuple):
    """The ends of both axes, and where they lie in the drawing."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        """Units from the left edge."""
        return LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Units from the upper edge."""
        return TOP + (self.high - value) / (self.high - self.low) * HEIGHT


def chart(
    lines: Sequence[Line],
    alt: str,
    title: str = "",
    x: str = "step",
    smooth: float = 0.0,
    baselines: Mapping[str, float] | None = None,
    named: Sequence[str] = (),
    ends: bool = True,
) -> Html | None:
    """The drawing, or None where no value is finite. `alt` says in words what it shows.

    smooth: weight in [0, 1) by which a neighbour counts less with each step; the line as it was stays behind, pale.
    baselines: name -> value of horizontal lines to compare with.
    named: all names that there are, so that each looks alike in several drawings.
    ends: whether the legend says the last value of each line.
    """
    known = [line for line in map(finite, lines) if len(line.x)]
    if not known:
        return None
    marks = {name: value for name, value in (baselines or {}).items() if math.isfinite(value)}
    axes, names = axes_of(known, marks.values()), list(dict.fromkeys(line.name for line in known))
    strokes = {name: _stroke(i) for i, name in enumerate(dict.fromkeys([*named, *names]))}
    rows = [(legend(name, known) if ends else name, strokes[name]) for name in names]
    rows += [(f"{name} {number(value)}", _BASELINE) for name, value in marks.items()]
    bottom = TOP + HEIGHT + 2 * ROW + 6
    height = bottom + ROW * len(rows) + 4
    return el(
        "svg",
        _text(0, 16, title, font_size=15, font_weight=600) if title else None,
        [_level(axes, value) for value in ticks(axes.low, axes.high)],
        [_moment(axes, value) for value in ticks(axes.left, axes.right, 3)],
        _text(WIDTH - RIGHT, TOP + HEIGHT + 2 * ROW - 3, x, text_anchor="end", opacity=0.75),
        [_flat(axes, value) for value in marks.values()],
        [_drawn(axes, line, strokes[line.name], smooth) for line in known],
        [_row(bottom + ROW * (i + 0.5), words, stroke) for i, (words, stroke) in enumerate(rows)],
        viewBox=f"0 0 {WIDTH} {height:g}",
        class_="chart",
        role="img",
        aria_label=alt,
        font_size=LETTERS,
        fill="currentColor",
    )


def finite(line: Line) -> Line:
    """The line without places where it has no value."""
    x, y = np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)
    there = np.isfinite(x) & np.isfinite(y)
    return Line(line.name, x[there], y[there])


def axes_of(lines: Iterable[Line], marks: Iterable[float] = ()) -> Axes:
    """Axes that hold all of `lines` and `marks`, with a little room above and below."""
    x, y = (np.concatenate(parts) for parts in zip(*((line.x, line.y) for line in lines), strict=True))
    y = np.concatenate([y, list(marks)])
    room = 0.06 * (y.max() - y.min()) or 0.5 * abs(y[0]) or 1.0
    return Axes(float(x.min()), float(x.max() if x.max() > x.min() else x.min() + 1), y.min() - room, y.max() + room)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Up to `most` + 1 round values between `low` and `high`: multiples of 1, 2, 2.5 or 5 times a power of ten."""
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (size * factor) <= most)
    return [step * place for place in range(math.ceil(low / step), math.floor(high / step) + 1)]


def legend(name: str, lines: Iterable[Line]) -> str:
    """A name with the last value of its line; the mean of them for several."""
    ends = [float(line.y[-1]) for line in lines if line.name == name]
    told = f" {number(float(np.mean(ends)))}" + (f" (mean of {len(ends)})" if len(ends) > 1 else "")
    room = LONGEST - len(told)
    return (name if len(name) <= room else f"{name[: room - 1]}…") + told


def short(value: float) -> str:
    """A number that fits beside an axis: `0.25`, `1,200`, `35k`, `2M`, `7.5e-4`, `1.5e15`."""
    for least, size, letter in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if least <= abs(value) < 1e9:
            return f"{value / size:.4g}{letter}"
    plain = f"{value:,.4g}"
    return plain if len(plain) <= 6 and "e" not in plain else _power(value)


def _power(value: float) -> str:
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


Stroke = Mapping[str, object]
_BASELINE: Stroke = {"stroke": "currentColor", "stroke_dasharray": "3 4", "stroke_width": 1.5}


def _stroke(place: int) -> Stroke:
    return {
        "stroke": COLOURS[place % len(COLOURS)],
        "stroke_dasharray": DASHES[place % len(DASHES)],
        "stroke_width": 2,
        "fill": "none",
    }


def _drawn(axes: Axes, line: Line, stroke: Stroke, smooth: float) -> list[Html]:
    if len(line.x) <= FEW_POINTS:
        return [*_dots(axes, line, stroke), _path(axes, line.x, line.y, stroke)]
    shown = _path(axes, *thinned(line.x, smoothed(line.y, smooth) if smooth else line.y), stroke)
    pale = {**stroke, "stroke_width": 1, "opacity": 0.3, "stroke_dasharray": None}
    return [_path(axes, *thinned(line.x, line.y), pale), shown] if smooth else [shown]


def _dots(axes: Axes, line: Line, stroke: Stroke) -> list[Html]:
    places = zip(line.x, line.y, strict=True)
    return [el("circle", cx=f"{axes.x(x):.1f}", cy=f"{axes.y(y):.1f}", r=2.5, fill=stroke["stroke"]) for x, y in places]


def thinned(x: np.ndarray, y: np.ndarray, most: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most about `most` points of a line: the least and the greatest of each stretch, in their order."""
    if len(x) <= most:
        return x, y
    parts = np.array_split(np.arange(len(x)), most // 2)
    kept = np.unique([place for part in parts for place in (part[y[part].argmin()], part[y[part].argmax()])])
    return x[kept], y[kept]


def _path(axes: Axes, x: np.ndarray, y: np.ndarray, stroke: Stroke) -> Html:
    points = " ".join(f"{axes.x(a):.1f},{axes.y(b):.1f}" for a, b in zip(x, y, strict=True))
    return el("polyline", points=points, **stroke)


def _level(axes: Axes, value: float) -> list[Html]:
    y = f"{axes.y(value):.1f}"
    line = el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke="currentColor", opacity=0.15)
    return [line, _text(LEFT - 6, float(y) + 4.5, short(value), text_anchor="end", opacity=0.75)]


def _moment(axes: Axes, value: float) -> Html:
    return _text(axes.x(value), TOP + HEIGHT + ROW - 2, short(value), text_anchor="middle", opacity=0.75)


def _flat(axes: Axes, value: float) -> Html:
    return _path(axes, np.array([axes.left, axes.right]), np.array([value, value]), _BASELINE)


def _row(y: float, words: str, stroke: Stroke) -> list[Html]:
    return [_sample(y, stroke), _text(44, y + 4.5, words)]


def _sample(y: float, stroke: Stroke) -> Html:
    return el("line", x1=8, x2=36, y1=f"{y:g}", y2=f"{y:g}", **stroke)


def _text(x: float, y: float, words: str, **attributes: object) -> Html:
    return el("text", words, x=f"{x:.1f}", y=f"{y:.1f}", **attributes)
