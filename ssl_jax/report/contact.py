"""A contact sheet: every view that the model gets of some records, pixel by pixel, with the numbers that were drawn for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_jax.report.panels.paper import GAP, INK, PAPER, font, sheet, wrapped

if TYPE_CHECKING:
    from PIL import Image

SMALL = 96  # pixels: views with less are enlarged by a whole number, larger ones are shown as they are
WIDTH = 180  # of a cell at least, for its words
LETTERS = 12


def contact(views: np.ndarray, words: Sequence[Sequence[Sequence[str]]], ids: Iterable[int], title: str) -> Image.Image:
    """The sheet of `views` [B, V, h, w, C] in [0, 1] with lines of words [B][V] under each."""
    height, width = views.shape[2:4]
    zoom = enlargement(height, width)
    heads = [[f"record {number}"] for number in ids]
    cells = [
        [cell(view, head + list(told), zoom) for view, told in zip(row, said, strict=True)]
        for row, said, head in zip(np.asarray(views), words, heads, strict=True)
    ]
    shown = "at its size" if zoom == 1 else f"{zoom} times as large"
    captions = [f"{title} {number}" for number in range(1, views.shape[1] + 1)]
    return sheet(cells, captions, f"{title}: {width} x {height} pixels, shown {shown}.")


def enlargement(height: int, width: int) -> int:
    """How many times a view is enlarged, so that it can be seen: 1 from `SMALL` pixels on."""
    return max(1, SMALL // max(height, width))


def cell(view: np.ndarray, words: Sequence[str], zoom: int) -> Image.Image:
    """One view [h, w, C] with its words under it."""
    from PIL import Image, ImageDraw

    pixels = view if view.shape[-1] >= 3 else np.repeat(view.mean(-1, keepdims=True), 3, axis=-1)
    tile = Image.fromarray(np.round(np.clip(np.nan_to_num(pixels[..., :3]), 0, 1) * 255).astype(np.uint8))
    tile = tile.resize((tile.width * zoom, tile.height * zoom), Image.Resampling.NEAREST)
    width, letters = max(tile.width, WIDTH), font(LETTERS)
    rows = [row for word in words for row in wrapped(word, letters, width)]
    whole = Image.new("RGB", (width, tile.height + GAP + (LETTERS + 4) * len(rows)), PAPER)
    whole.paste(tile, ((width - tile.width) // 2, 0))
    draw = ImageDraw.Draw(whole)
    for number, row in enumerate(rows):
        draw.text((0, tile.height + GAP + (LETTERS + 4) * number), row, INK, letters)
    return whole


def ranges(augment: Any) -> str:
    """What an augmentation, or each of its parts, may draw, as its options say: for those that do not tell what they drew."""
    if isinstance(parts := getattr(augment, "parts", None), Mapping):
        return " ".join(f"{name}: {ranges(part)}" for name, part in parts.items())
    options = [f"{f.name} {getattr(augment, f.name)}" for f in fields(augment)] if is_dataclass(augment) else []
    return f"{type(augment).__name__} may draw: {', '.join(options) or 'nothing that it says'}."
