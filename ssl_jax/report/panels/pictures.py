"""Grids of small images, drawn pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ssl_jax.data.panels import Pictures
from ssl_jax.report.panels.paper import Tags, sheet

if TYPE_CHECKING:
    from PIL import Image

TILE = 112  # pixels: images are enlarged by the largest whole number that stays below it, or shrunk to twice that


def draw(panel: Pictures, tags: Tags = (), *, lead: bool = False) -> Image.Image:
    """The grid of `panel`. Small images are enlarged without smoothing: a pixel of the data is a square of the picture."""
    cells = [[tile(image) for image in row] for row in np.asarray(panel.rows)]
    return sheet(cells, panel.captions, panel.note, tags, lead=lead)


def describe(panel: Pictures) -> str:
    """What is to be seen, in words."""
    rows, columns, height, width = np.shape(panel.rows)[:4]
    return f"{rows} rows of {columns} pictures of {height} x {width} pixels."


def tile(pixels: np.ndarray, size: int = TILE) -> Image.Image:
    """One tile of [h, w, C] in [0, 1]: the first 3 channels are red, green and blue; 1 is grey, and 2 are averaged."""
    from PIL import Image

    pixels = np.nan_to_num(np.asarray(pixels, np.float32))
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels.mean(-1, keepdims=True), 3, axis=-1)
    image = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    longest = max(image.size)
    if longest <= size:
        zoom = size // longest
        return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
    if longest > 2 * size:
        image.thumbnail((2 * size, 2 * size), Image.Resampling.LANCZOS)
    return image
