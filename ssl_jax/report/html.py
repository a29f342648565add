"""HTML from plain values: everything that is not `Html` already is escaped, so that nothing can be forgotten."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence

EMPTY = frozenset({"img", "meta", "br"})
NARROW = 350  # pixels of a phone's screen that are left for a picture
SCROLL = "↔ Wider than this screen: scroll it sideways."


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = object  # Html, None, anything with a text, or an iterable of them


def el(name: str, /, *children: Child, **attributes: object) -> Html:
    """`<name key="value">children</name>`; `class_` is the attribute `class`. None is left out, everything else escaped.

    >>> el("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    words = [
        f'{k.rstrip("_").replace("_", "-")}="{html.escape(str(v))}"' for k, v in attributes.items() if v is not None
    ]
    start = f"<{' '.join([name, *words])}>"
    return Html(start if name in EMPTY else f"{start}{_text(children)}</{name}>")


def prose(text: str) -> list[Child]:
    """A sentence in which words between backticks are code.

    >>> "".join(map(str, prose("see `loss` < 1")))
    'see <code>loss</code> < 1'
    """
    return [el("code", part) if place % 2 else part for place, part in enumerate(text.split("`"))]


def picture(png: bytes, alt: str, caption: Child = None, wide: bool = False) -> Html:
    """A figure that holds its PNG itself. `alt` says what is to be seen, for who does not see it.

    A `wide` one keeps its size on a narrow screen, where it is to be scrolled; a line over it says so.
    """
    data = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    words = el("figcaption", caption) if caption else None
    if not wide:
        return el("figure", el("img", src=data, alt=alt), words)
    image = el("img", src=data, alt=alt, width=_width(png))
    hint = el("p", SCROLL, class_="hint") if _width(png) > NARROW else None
    return el("figure", hint, el("div", image, class_="pan", tabindex=0), words)


def player(wav: bytes, label: str) -> Html:
    """Controls that play a wav file, which the page holds itself."""
    data = "data:audio/wav;base64," + base64.b64encode(wav).decode("ascii")
    return el("audio", controls="", preload="none", src=data, aria_label=label, title=label)


def drawing(svg: Html, caption: Child = None) -> Html:
    """A figure of what is drawn in the page itself."""
    return el("figure", svg, el("figcaption", caption) if caption else None)


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], class_: str = "") -> Html:
    """A table whose first column names the rows, `head` () for none.

    On a narrow screen one with a head becomes a card for each row, where every cell says its column.
    """
    if not head:
        body = [el("tr", el("th", name, scope="row"), *(el("td", c) for c in cells)) for name, *cells in rows]
        return el("table", el("tbody", *body), class_=class_ or None)
    titles = [el("th", h, scope="col", role="columnheader") for h in head]
    header = el("thead", el("tr", *titles, role="row"), role="rowgroup")
    body = [_card(name, zip(head[1:], cells, strict=True)) for name, *cells in rows]
    return el("table", header, el("tbody", *body, role="rowgroup"), class_=f"cards {class_}".strip(), role="table")


def document(title: str, style: str, *body: Child) -> str:
    """A whole page that can load nothing: the policy allows this one style sheet, and pictures and sounds inside the page."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    inside = f"img-src data:; media-src data:; style-src 'sha256-{digest}'"
    policy = f"default-src 'none'; {inside}; base-uri 'none'; form-action 'none'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", Html(style)),
    )
    return "<!doctype html>\n" + el("html", head, el("body", *body), lang="en") + "\n"


def _card(name: Child, cells: Iterable[tuple[Child, Child]]) -> Html:
    # The roles say again what the elements mean: browsers forget it where a style sheet shows them as blocks.
    shown = [el("td", cell, data_label=title, role="cell") for title, cell in cells]
    return el("tr", el("th", name, scope="row", role="rowheader"), *shown, role="row")


def _width(png: bytes) -> int:
    """Pixels from left to right, as the file's header says."""
    return int.from_bytes(png[16:20], "big")


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, list | tuple):
        return "".join(map(_text, child))
    return html.escape(str(child))
