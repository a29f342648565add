"""Texts: pieces with marks, wrapped into cells, with a legend.

Pieces follow each other as they stand, since spaces are theirs; where none of a panel holds one, they are set a space apart.
A mark is seen without colour too: hidden pieces are white on black, others carry a sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import TYPE_CHECKING, NamedTuple

from ssl_jax.data.panels import Texts
from ssl_jax.report.panels.paper import INK, MARGIN, MUTED, PAPER, RULE, Tags, font, sheet, stacked

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageDraw import ImageDraw

Piece = tuple[str, str]  # text, mark

SIZE, LINE, PAD = 16, 26, 8  # pixels of the letters, of a line, and around the text of a cell
WIDTH, NARROWEST, WIDEST = 1080, 240, 560  # of all columns together, and of one
LONGEST = 12  # lines of a cell; what is left out is told by an ellipsis


class Style(NamedTuple):
    """How the pieces of a mark look: a sign after them, and colours."""

    sign: str
    ink: str = INK
    fill: str = PAPER


Word = tuple[str, Style]

KNOWN = {
    "": Style(""),
    "hidden": Style("", PAPER, INK),
    "right": Style("✓", "#00523C", "#DDF3EA"),
    "wrong": Style("✗", "#8A2B00", "#FBE6DA"),
    "padding": Style("·", MUTED),
}
SIGNS = "¹²³⁴⁵⁶⁷⁸⁹"
DARK = ("#00507F", "#933F00", "#00634A", "#83405F")  # ink of the marks that carry a number: 6 : 1 on paper, or more


def draw(panel: Texts, tags: Tags = (), *, lead: bool = False) -> Image.Image:
    """A cell for each text, and under them what each mark means."""
    panel = spaced(panel)
    styles = styles_of(panel)
    width = max(NARROWEST, min(WIDEST, WIDTH // len(panel.rows[0])))
    cells = [[_cell(pieces, styles, width) for pieces in row] for row in panel.rows]
    whole = sheet(cells, panel.captions, panel.note, tags, lead=lead, most_blocks=1)
    marked = [(mark, style) for mark, style in styles.items() if mark]
    return stacked([whole, _legend(marked, whole.width)]) if marked else whole


def describe(panel: Texts) -> str:
    """What is to be seen, in words: the first text is read out, with its marks in brackets."""
    pieces = spaced(panel).rows[0][0]
    first = "".join(text if not mark else f"[{mark}: {text}]" for text, mark in pieces)
    return f"{len(panel.rows)} rows of {len(panel.rows[0])} texts. The first: {first[:300]}"


def spaced(panel: Texts) -> Texts:
    """`panel` with a space behind every piece, if none of them holds one: words or tokens, not parts of a sentence."""
    if any(character.isspace() for text, _ in _pieces(panel) for character in text):
        return panel
    return replace(panel, rows=[[[(f"{text} ", mark) for text, mark in cell] for cell in row] for row in panel.rows])


def styles_of(panel: Texts) -> dict[str, Style]:
    """A style for each mark of `panel`, in the order of their first use; marks of its own are told apart by numbers."""
    marks = list(dict.fromkeys(mark for _, mark in _pieces(panel)))
    own = [mark for mark in marks if mark not in KNOWN]
    numbered = {mark: Style(SIGNS[i % len(SIGNS)], DARK[i % len(DARK)]) for i, mark in enumerate(own)}
    return {mark: KNOWN.get(mark) or numbered[mark] for mark in marks}


def _pieces(panel: Texts) -> Iterator[Piece]:
    return chain.from_iterable(chain.from_iterable(panel.rows))


def _cell(pieces: Sequence[Piece], styles: dict[str, Style], width: int) -> Image.Image:
    """One text in a frame of `width` pixels, as high as it needs to be."""
    from PIL import Image, ImageDraw

    lines = lines_of(_words(pieces, styles), width - 2 * PAD)
    if len(lines) > LONGEST:
        lines = [*lines[: LONGEST - 1], [*lines[LONGEST - 1][:-1], ("…", KNOWN[""])]]
    image = Image.new("RGB", (width, 2 * PAD + LINE * max(len(lines), 1)), PAPER)
    pen = ImageDraw.Draw(image)
    pen.rectangle([0, 0, width - 1, image.height - 1], outline=RULE)
    for number, line in enumerate(lines):
        _write(pen, line, PAD, PAD + LINE * number)
    return image


def lines_of(words: Iterable[Word], width: float) -> list[list[Word]]:
    """`words` on lines of at most `width` pixels; one that is longer than a line is cut."""
    lines: list[list[Word]] = [[]]
    left = width
    for text, style in chain.from_iterable(_cut(*word, width) for word in words):
        if _length(text.rstrip(), style) > left and lines[-1]:
            lines.append([])
            left = width
        lines[-1].append((text, style))
        left -= _length(text, style)
    return lines if lines[-1] else lines[:-1]


def _words(pieces: Iterable[Piece], styles: dict[str, Style]) -> Iterator[Word]:
    """Pieces as words with the spaces that follow them, the sign of a mark on the last; line ends are shown as a sign."""
    for text, mark in _joined(pieces):
        shown = text.replace("\n", "↵ ").replace("\t", " ")
        words = re.findall(r"\S+\s*|\s+", shown) or ([""] if mark else [])
        for number, word in enumerate(words, 1):
            style = (
                styles[mark] if word.strip() or not shown.strip() else KNOWN[""]
            )  # the space before a word is not marked
            yield word, style if number == len(words) else style._replace(sign="")


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbouring pieces of one mark, of those that only say where something belongs, as one."""
    for mark, run in groupby(pieces, lambda piece: piece[1]):
        if mark in KNOWN:
            yield from run
        else:
            yield "".join(text for text, _ in run), mark


def _cut(text: str, style: Style, width: float) -> Iterator[Word]:
    while len(text) > 1 and _length(text.rstrip(), style) > width:
        fits = next(n for n in range(len(text) - 1, 0, -1) if n == 1 or _length(text[:n], style) <= width)
        yield text[:fits], style._replace(sign="")
        text = text[fits:]
    yield text, style


def _length(text: str, style: Style) -> float:
    return font(SIZE).getlength(text + style.sign) + (6 if style.fill != PAPER else 0)


def _write(pen: ImageDraw, line: Iterable[Word], x: float, y: float) -> None:
    """Write a line from (x, y), its upper left corner."""
    for text, style in line:
        word, space = text.rstrip(), text[len(text.rstrip()) :]
        inner, inset = font(SIZE).getlength(word + style.sign), (2 if style.fill != PAPER else 0)
        if inset:
            pen.rounded_rectangle([x, y + 2, x + inner + 2 * inset, y + LINE - 2], 3, style.fill)
        pen.text((x + inset, y + LINE - 8), word + style.sign, style.ink, font(SIZE), anchor="ls")
        x += inner + 2 * inset + font(SIZE).getlength(space)


def _legend(styles: Sequence[tuple[str, Style]], width: int) -> Image.Image:
    from PIL import Image, ImageDraw

    lines = lines_of([(f"{mark}   ", style) for mark, style in styles], width - 2 * MARGIN)
    image = Image.new("RGB", (width, LINE * len(lines) + MARGIN), PAPER)
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        _write(pen, line, MARGIN, LINE * number)
    return image
