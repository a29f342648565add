"""HTML from plain values: everything that is not `Html` already is escaped, so that nothing can be forgotten."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence

EMPTY = frozenset({"img", "meta", "br"})


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


def picture(png: bytes, alt: str, caption: Child = None) -> Html:
    """A figure that holds its PNG itself. `alt` says what is to be seen, for who does not see it."""
    data = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    image = el("img", src=data, alt=alt)
    return el("figure", image, el("figcaption", caption) if caption else None)


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], class_: str | None = None) -> Html:
    """A table whose first column names the rows, `head` () for none. It scrolls by itself where the screen is narrow."""
    header = el("thead", el("tr", *(el("th", h, scope="col") for h in head))) if head else None
    body = [el("tr", el("th", name, scope="row"), *(el("td", c) for c in cells)) for name, *cells in rows]
    whole = el("table", header, el("tbody", *body), class_=class_)
    return el("div", whole, class_="wide")


def document(title: str, style: str, *body: Child) -> str:
    """A whole page that can load nothing: the policy allows this one style sheet, and pictures inside the page."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
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


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, list | tuple):
        return "".join(map(_text, child))
    return html.escape(str(child))
