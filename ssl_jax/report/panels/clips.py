"""Clips as strips: some of their frames side by side, in the order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ssl_jax.data.panels import Clips
from ssl_jax.report.panels.paper import PAPER, Tags, sheet
from ssl_jax.report.panels.pictures import tile

if TYPE_CHECKING:
    from PIL import Image

TILE, GAP = 64, 2
FRAMES = 16  # in a row of the sheet, shared out to its clips
MOST, LEAST = 8, 2  # of one clip


def draw(panel: Clips, tags: Tags = (), *, lead: bool = False) -> Image.Image:
    """A strip for each clip; which frames these are is told under them."""
    columns, length = np.shape(panel.rows)[1:3]
    frames = chosen(length, columns)
    cells = [[_strip(clip[frames]) for clip in row] for row in np.asarray(panel.rows)]
    told = f"Frames {', '.join(str(f + 1) for f in frames)} of {length}, left to right."
    return sheet(cells, panel.captions, " ".join(filter(None, (panel.note, told))), tags, lead=lead, most_blocks=1)


def describe(panel: Clips) -> str:
    """What is to be seen, in words."""
    rows, columns, length, height, width = np.shape(panel.rows)[:5]
    shown = len(chosen(length, columns))
    return f"{rows} rows of {columns} clips of {length} frames of {height} x {width} pixels, {shown} of each shown."


def chosen(length: int, columns: int) -> np.ndarray:
    """Which of `length` frames are shown where `columns` clips share a row: evenly spread, the first and last among them."""
    most = min(length, MOST, max(LEAST, FRAMES // columns))
    return np.unique(np.linspace(0, length - 1, most).round().astype(int))


def _strip(frames: np.ndarray) -> Image.Image:
    from PIL import Image

    tiles = [tile(frame, TILE) for frame in frames]
    width, height = tiles[0].size
    strip = Image.new("RGB", (len(tiles) * (width + GAP) - GAP, height), PAPER)
    for place, picture in enumerate(tiles):
        strip.paste(picture, (place * (width + GAP), 0))
    return strip
