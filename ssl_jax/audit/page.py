"""An audit as one HTML page: what was found, and the pairs that matter most as pictures. It needs no other file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_jax import __version__
from ssl_jax.audit.named import Named
from ssl_jax.audit.pairs import KINDS
from ssl_jax.audit.pictures import picture
from ssl_jax.audit.prints import bytes_of, one_channel
from ssl_jax.audit.run import verdict
from ssl_jax.report.html import Child, Html, document, el, table
from ssl_jax.report.html import picture as figure

if TYPE_CHECKING:
    from PIL import Image

SHOWN = 12  # pairs of a kind
TITLES = {
    "exact": ("The same pixels", "Nothing was changed, whatever file they lie in."),
    "re-encoded": ("Encoded again", "The same size and cut; a JPEG of another quality, or slightly sharpened."),
    "resized": ("Another size", "The same cut."),
    "cropped": ("Another cut", "The one shows a part of the other."),
    "flipped": ("Mirrored", "Left and right exchanged. Pretraining that flips its pictures at random has seen both."),
}
PLACES = {"across": "across both sets", "pretrain": "within pretrain", "eval": "within eval"}


def page(result: Mapping[str, Any], sources: Mapping[str, Named], key: str = "image") -> str:
    """The page of what `run.audit` returned; pictures are read from the `sources` again, by the names of the sets."""
    style = resources.files("ssl_jax.report").joinpath("page.css").read_text(encoding="utf-8")
    body = (
        el(
            "header",
            el("p", "Data audit", class_="kind"),
            el("h1", " and ".join(s["source"] for s in result["sets"].values())),
        ),
        _verdict(result),
        _facts(result),
        el(
            "section", el("h2", "Pairs that are one picture"), _counts(result), el("p", result["method"], class_="note")
        ),
        [_kind(kind, result["pairs"], sources, key) for kind in KINDS],
        _doubtful(result["doubtful"], sources, key),
        _unreadable(result["sets"]),
        el(
            "footer",
            f"Made by ssl-jax {__version__}. This file needs no other; audit.json beside it has all pairs and ids.",
        ),
    )
    return document("Data audit · ssl-jax", style, el("main", *body))


def _verdict(result: Mapping[str, Any]) -> Html:
    clean = not result["unclean"] if "eval" in result["sets"] else not sum(result["pairs_found"]["pretrain"].values())
    sign, word, class_ = ("✓", "clean", "healthy") if clean else ("✕", "shared", "collapsed")
    return el("p", el("strong", f"{sign} {word}"), verdict(result), class_=f"verdict {class_}")


def _facts(result: Mapping[str, Any]) -> Html:
    rows = [
        el("div", el("dt", name), el("dd", f"{one['records']:,} records", el("br"), el("small", _named(one))))
        for name, one in result["sets"].items()
    ]
    by_kind = {kind: len(ids) for kind, ids in result["unclean_by_kind"].items() if ids}
    told = ", ".join(f"{kind} {count:,}" for kind, count in by_kind.items())
    unclean = el(
        "div",
        el("dt", "Records of eval in pretrain"),
        el("dd", f"{len(result['unclean']):,}", el("br"), el("small", told)),
    )
    return el("dl", rows, unclean if "eval" in result["sets"] else None, class_="facts")


def _named(one: Mapping[str, Any]) -> str:
    return f"{one['source']}{' ' + one['part'] if 'part' in one else ''}, fingerprint {one['fingerprint'][:12]}"


def _counts(result: Mapping[str, Any]) -> Html:
    rows = [[PLACES[where], *(f"{n:,}" for n in counts.values())] for where, counts in result["pairs_found"].items()]
    return table(["", *KINDS], rows, class_="scores plain")


def _kind(kind: str, pairs: Iterable[Mapping[str, Any]], sources: Mapping[str, Named], key: str) -> Html | None:
    of_kind = [pair for pair in pairs if pair["kind"] == kind]
    if not of_kind:
        return None
    title, about = TITLES[kind]
    more = f" The first {SHOWN} of {len(of_kind):,}." if len(of_kind) > SHOWN else ""
    return el("section", el("h2", title), el("p", about + more), _gallery(of_kind[:SHOWN], sources, key))


def _doubtful(pairs: Sequence[Mapping[str, Any]], sources: Mapping[str, Named], key: str) -> Html | None:
    if not pairs:
        return None
    about = (
        f"{len(pairs):,} pairs that the hash and the encoder find alike, and the pixels do not confirm. They are not counted: "
        "look at them."
    )
    return el("section", el("h2", "Doubtful"), el("p", about), _gallery(pairs[:SHOWN], sources, key))


def _gallery(pairs: Iterable[Mapping[str, Any]], sources: Mapping[str, Named], key: str) -> Html:
    return el("div", [_pair(pair, sources, key) for pair in pairs], class_="pictures pairs")


def _pair(pair: Mapping[str, Any], sources: Mapping[str, Named], key: str) -> Html:
    from ssl_jax.report.panels.paper import png

    places = list(zip(pair["sets"], pair["ids"], strict=True))
    shown = [picture(sources[name].source, record, key) for name, record in places]
    who = " and ".join(f"{name} {record}" for name, record in places)
    sizes = " and ".join(f"{x.shape[1]} x {x.shape[0]}" for x in shown)
    alt = f"Two pictures side by side, {who}: {pair.get('kind', 'doubtful')}."
    return figure(png(beside([_unit(x) for x in shown])), alt, _caption(pair, who, sizes))


def _caption(pair: Mapping[str, Any], who: str, sizes: str) -> list[Child]:
    files = [name for name, record in zip(pair["names"], pair["ids"], strict=True) if name != str(record)]
    numbers = [f"apart by {pair['distance']:g}"] if "distance" in pair else []
    numbers += [f"embeddings {pair['embedding']:.4f}"] if "embedding" in pair else []
    return [who, el("br"), "; ".join([f"{sizes} pixels", *numbers]), [[el("br"), el("code", name)] for name in files]]


def _unit(x: np.ndarray) -> np.ndarray:
    return bytes_of(one_channel(x)[None])[0] / 255


def beside(pictures: Sequence[np.ndarray]) -> Image.Image:
    """Pictures [H, W, C] in [0, 1] side by side, each as large as the cells of other sheets."""
    from ssl_jax.report.panels.paper import sheet
    from ssl_jax.report.panels.pictures import TILE, tile

    tiles = [tile(x) for x in pictures]
    for each in tiles:
        each.thumbnail((int(1.25 * TILE), int(1.25 * TILE)))
    return sheet([tiles])


def _unreadable(sets: Mapping[str, Any]) -> Html | None:
    rows = [[name, bad["name"], bad["reason"]] for name, one in sets.items() for bad in one["unreadable"]]
    if not rows:
        return None
    told = f"{len(rows):,} records could not be read, and are compared with nothing." + (
        " The first 20." if len(rows) > 20 else ""
    )
    return el("section", el("h2", "Bad records"), el("p", told), table(["set", "name", "why"], rows[:20]))
