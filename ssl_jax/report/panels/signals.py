"""Waves and series as small multiples: a lane for each channel, with what is hidden from the model hatched."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ssl_jax.data.panels import Signals
from ssl_jax.report.panels.paper import LINES, PAPER, RULE, Tags, sheet

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageDraw import ImageDraw

WIDTH, LANE, LANE_ALONE = 300, 44, 72  # pixels of a signal, of each of its channels, and of its only one
CHANNELS = 6  # of a signal, the first
SHADE, HATCH = "#E4E7EC", "#8A94A3"
FINE = 3  # drawn so many times larger, then made smooth


def draw(panel: Signals, tags: Tags = (), *, lead: bool = False) -> Image.Image:
    """A small plot for each signal. The signals of a row share the scale of each channel; gaps are where they are not finite."""
    rows = _with_channels(panel.rows)[..., :CHANNELS]
    hidden = np.zeros(rows.shape[:3], bool) if panel.hidden is None else np.asarray(panel.hidden)
    cells = [[_plot(s, h, *_limits(row)) for s, h in zip(row, cover, strict=True)]
             for row, cover in zip(rows, hidden, strict=True)]  # fmt: skip
    return sheet(cells, panel.captions, " ".join(filter(None, (panel.note, _told(panel)))), tags, lead=lead)


def describe(panel: Signals) -> str:
    """What is to be seen, in words."""
    rows, columns = np.shape(panel.rows)[:2]
    return f"{rows} rows of {columns} signals. {_told(panel)}"


def _told(panel: Signals) -> str:
    *_, length, channels = _with_channels(panel.rows).shape
    lasts = length / panel.rate
    told = [
        f"{length:,} samples" + (f" in {lasts:.4g} {panel.unit}{'s' * (lasts != 1)}" if panel.unit != "sample" else "")
    ]
    if channels > 1:
        told.append(f"{channels} channels" + (f", the first {CHANNELS} shown" if channels > CHANNELS else ""))
    if panel.hidden is not None:
        told.append(f"hatched: hidden ({np.mean(panel.hidden):.0%})")
    return "; ".join(told) + "."


def _with_channels(rows: ArrayLike) -> np.ndarray:
    """[R, K, T, C] in float32."""
    signals = np.asarray(rows, np.float32)
    return signals[..., None] if signals.ndim == 3 else signals


def _limits(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest finite value [C] of the signals [K, T, C] of a row."""
    finite = np.isfinite(row)
    low, high = np.where(finite, row, np.inf).min((0, 1)), np.where(finite, row, -np.inf).max((0, 1))
    return np.where(low <= high, low, 0.0), np.where(low <= high, high, 1.0)


def _plot(signal: np.ndarray, hidden: np.ndarray, low: np.ndarray, high: np.ndarray) -> Image.Image:
    """The lanes of a signal [T, C], where `hidden` [T] hatched, between `low` and `high` [C]."""
    from PIL import Image, ImageDraw

    channels = signal.shape[1]
    lane = FINE * (LANE if channels > 1 else LANE_ALONE)
    image = Image.new("RGB", (FINE * WIDTH, channels * lane), PAPER)
    pen = ImageDraw.Draw(image)
    _hatch(pen, hidden, *image.size)
    for channel, colour in zip(range(channels), cycle(LINES), strict=False):
        span = max(float(high[channel] - low[channel]), 1e-12)
        height = 1 - (signal[:, channel] - low[channel]) / span
        top = channel * lane + 0.08 * lane
        _line(pen, top + 0.84 * lane * height, image.width, colour)
        pen.line([(0, (channel + 1) * lane - 1), (image.width, (channel + 1) * lane - 1)], RULE, FINE)
    return image.resize((WIDTH, image.height // FINE), Image.Resampling.LANCZOS)


def _hatch(pen: ImageDraw, hidden: np.ndarray, width: int, height: int) -> None:
    """Shade the hidden stretches, and draw slanted lines over the shade."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(np.int8), [0]])))
    for start, stop in edges.reshape(-1, 2) * width / len(hidden):
        pen.rectangle([start, 0, max(stop - 1, start), height], SHADE)
        for x in np.arange(start - start % (8 * FINE) - height, stop, 8 * FINE):
            left, right = max(x, start), min(x + height, stop - 1)
            if left < right:
                pen.line([(left, height - (left - x)), (right, height - (right - x))], HATCH, FINE)


def _line(pen: ImageDraw, y: np.ndarray, width: int, colour: str) -> None:
    """The line through `y` [T], evenly spread over `width`; where columns hold many samples, from their least to their
    greatest."""
    if len(y) > 2 * width:
        y = np.concatenate([[part.min(), part.max()] for part in np.array_split(y, width)])
    x = (np.arange(len(y)) + 0.5) * width / len(y)
    for run in np.split(np.arange(len(y)), np.flatnonzero(np.diff(np.isfinite(y))) + 1):
        points = list(zip(x[run].tolist(), y[run].tolist(), strict=True))
        if np.isfinite(y[run[0]]):
            pen.line(points if len(points) > 1 else [points[0], (points[0][0] + FINE, points[0][1])], colour, FINE + 1)
