"""What every panel is drawn with: ink, paper, letters, and a sheet of cells with words around them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFont import FreeTypeFont

INK, MUTED, PAPER, RULE = "#222222", "#767676", "#FFFFFF", "#DDDDDD"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
GAP, MARGIN, BLOCK_GAP = 6, 20, 36
SHAPE = 1.5  # the width/height that the blocks of rows aim at


class Tag(NamedTuple):
    """A word under a cell, in a colour; the word says all that the colour does."""

    word: str
    colour: str = MUTED


Tags = Sequence[Sequence[Tag]]  # [R][K]


def sheet(
    cells: Sequence[Sequence[Image.Image]],
    captions: Sequence[str] = (),
    note: str = "",
    tags: Tags = (),
    *,
    lead: bool = False,
    most_blocks: int | None = None,
) -> Image.Image:
    """A picture of `cells` [R][K].

    captions: one over each of the K columns. note: a sentence under everything. tags: a word under each cell. lead: set the
    first column apart from the others. The rows fill several blocks side by side (at most `most_blocks`) where one would be
    a narrow ribbon.
    """
    from PIL import Image, ImageDraw

    count, columns = len(cells), len(cells[0])
    caption_font, tag_font, note_font = font(15), font(13), font(14)
    widths = [cell.width for row in cells for cell in row] + [
        math.ceil(caption_font.getlength(c)) + 4 for c in captions
    ]
    column, heights = max(widths), [max(cell.height for cell in row) for row in cells]
    head, foot = (26 if captions else 0), (20 if len(tags) else 0)
    step_x, steps_y = column + GAP, [height + foot + GAP for height in heights]
    apart = 2 * GAP if lead else 0
    block = columns * step_x - GAP + apart

    deep = math.ceil(count / _blocks(count, block + BLOCK_GAP, sum(steps_y) / count, most_blocks))
    blocks = math.ceil(count / deep)
    tops = [top for first in range(0, count, deep) for top in accumulate([0, *steps_y[first : first + deep][:-1]])]
    inner = blocks * (block + BLOCK_GAP) - BLOCK_GAP
    lines = wrapped(note, note_font, max(inner, 360))
    size = (
        2 * MARGIN + max(inner, *(math.ceil(note_font.getlength(line)) for line in lines), 0),
        2 * MARGIN
        + head
        + max(map(sum, zip(tops, steps_y, strict=True)))
        - GAP
        + (4 + 20 * len(lines) if lines else 0),
    )
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    for row, cells_of_row in enumerate(cells):
        left, top = MARGIN + (row // deep) * (block + BLOCK_GAP), MARGIN + head + tops[row]
        for k, cell in enumerate(cells_of_row):
            x = left + k * step_x + (apart if k else 0)
            if captions and row % deep == 0:
                draw.text((x + column / 2, top - 8), captions[k], INK, caption_font, anchor="ms")
            picture.paste(cell, (x + (column - cell.width) // 2, top))
            if len(tags):
                word, colour = tags[row][k]
                place = (x + column / 2, top + heights[row] + 15)
                draw.text(place, shortened(word, tag_font, column), colour, tag_font, anchor="ms")
    for number, line in enumerate(lines):
        draw.text((MARGIN, size[1] - MARGIN - 20 * (len(lines) - number) + 6), line, MUTED, note_font, anchor="lt")
    return picture


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """`pictures` one under the other."""
    from PIL import Image

    size = max(p.width for p in pictures), sum(p.height for p in pictures)
    whole, tops = Image.new("RGB", size, PAPER), accumulate([0, *(p.height for p in pictures)])
    for picture, top in zip(pictures, tops, strict=False):
        whole.paste(picture, (0, top))
    return whole


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


def wrapped(text: str, font: FreeTypeFont, width: float) -> list[str]:
    """The words of `text` on lines of at most `width` pixels; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def shortened(word: str, font: FreeTypeFont, width: float) -> str:
    """`word`, cut with an ellipsis where it is wider than `width` pixels."""
    if font.getlength(word) <= width:
        return word
    while word and font.getlength(word + "…") > width:
        word = word[:-1]
    return word.rstrip() + "…"


def _blocks(rows: int, width: float, height: float, most: int | None) -> int:
    """Into how many blocks side by side `rows` of `width` x `height` go, to come nearest to `SHAPE`."""

    def distance(blocks: int) -> float:
        return abs(math.log(blocks * width / (math.ceil(rows / blocks) * height) / SHAPE))

    return min(range(1, min(max(rows, 1), most or rows) + 1), key=distance)
