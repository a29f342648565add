"""Grids of small images with words around them, drawn pixel by pixel with Pillow."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFont import FreeTypeFont

INK, MUTED, PAPER = "#222222", "#767676", "#FFFFFF"
TILE = 112  # pixels: images are enlarged by the largest whole number that stays below it, or shrunk to twice that
GAP, MARGIN, BLOCK_GAP = 6, 20, 36
SHAPE = 1.5  # the width/height that the blocks of rows aim at


def grid(
    rows: np.ndarray,
    captions: Sequence[str] = (),
    note: str = "",
    marks: Sequence[Sequence[str]] = (),
    colours: Sequence[Sequence[str]] = (),
    *,
    lead: bool = False,
) -> Image.Image:
    """A picture of `rows` [R, K, h, w, C] in [0, 1].

    captions: one over each of the K columns. note: a sentence under everything. marks, colours: a word under each image
    and its colour, [R][K]. lead: set the first column apart from the others.
    """
    from PIL import Image, ImageDraw

    count, columns = rows.shape[:2]
    images = [[_image(image) for image in row] for row in rows]
    width, height = images[0][0].size
    caption_font, mark_font, note_font = font(15), font(13), font(14)
    column = max(width, *(math.ceil(caption_font.getlength(c)) + 4 for c in captions), 0) if captions else width
    head, foot = (26 if captions else 0), (20 if len(marks) else 0)
    step_x, step_y = column + GAP, height + foot + GAP
    apart = 2 * GAP if lead else 0
    block = columns * step_x - GAP + apart

    blocks = _blocks(count, block + BLOCK_GAP, step_y)
    deep = math.ceil(count / blocks)
    blocks = math.ceil(count / deep)
    inner = blocks * (block + BLOCK_GAP) - BLOCK_GAP
    lines = _wrapped(note, note_font, max(inner, 360))
    size = (
        2 * MARGIN + max(inner, *(math.ceil(note_font.getlength(line)) for line in lines), 0),
        2 * MARGIN + head + deep * step_y - GAP + (4 + 20 * len(lines) if lines else 0),
    )
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    for row in range(count):
        left, top = MARGIN + (row // deep) * (block + BLOCK_GAP), MARGIN + head + (row % deep) * step_y
        for k in range(columns):
            x = left + k * step_x + (apart if k else 0)
            if captions and row % deep == 0:
                draw.text((x + column / 2, top - 8), captions[k], INK, caption_font, anchor="ms")
            picture.paste(images[row][k], (x + (column - width) // 2, top))
            if len(marks):
                word = _shortened(marks[row][k], mark_font, column)
                draw.text((x + column / 2, top + height + 15), word, colours[row][k], mark_font, anchor="ms")
    for number, line in enumerate(lines):
        draw.text((MARGIN, size[1] - MARGIN - 20 * (len(lines) - number) + 6), line, MUTED, note_font, anchor="lt")
    return picture


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    with io.BytesIO() as file:
        picture.save(file, format="PNG", optimize=True)
        return file.getvalue()


@cache
def font(size: int) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the signs that Pillow's own font lacks."""
    from pathlib import Path

    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def _image(pixels: np.ndarray) -> Image.Image:
    """One tile of [h, w, C] in [0, 1]: the first 3 channels are red, green and blue; 1 is grey, and 2 are averaged."""
    from PIL import Image

    pixels = np.nan_to_num(np.asarray(pixels, np.float32))
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels.mean(-1, keepdims=True), 3, axis=-1)
    image = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    longest = max(image.size)
    if longest <= TILE:
        zoom = TILE // longest
        return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
    if longest > 2 * TILE:
        image.thumbnail((2 * TILE, 2 * TILE), Image.Resampling.LANCZOS)
    return image


def _blocks(rows: int, width: int, height: int) -> int:
    """Into how many blocks side by side `rows` of `width` x `height` go, to come nearest to `SHAPE`."""

    def distance(blocks: int) -> float:
        return abs(math.log(blocks * width / (math.ceil(rows / blocks) * height) / SHAPE))

    return min(range(1, max(rows, 1) + 1), key=distance)


def _wrapped(text: str, font: FreeTypeFont, width: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _shortened(word: str, font: FreeTypeFont, width: float) -> str:
    """`word`, cut with an ellipsis where it is wider than `width` pixels."""
    if font.getlength(word) <= width:
        return word
    while word and font.getlength(word + "…") > width:
        word = word[:-1]
    return word.rstrip() + "…"
