"""A card as one HTML page, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from ssl_jax import __version__
from ssl_jax.report.data_card import panel
from ssl_jax.report.html import document, el


def page(card: Mapping[str, Any]) -> str:
    """The page of what `card.card` returned."""
    style = resources.files("ssl_jax.report").joinpath("page.css").read_text(encoding="utf-8")
    head = el("header", el("p", "Data card", class_="kind"), el("h1", card["source"]))
    foot = el("footer", f"Made by ssl-jax {__version__}; fingerprint {card['fingerprint']}. This file needs no other.")
    return document("Data card · ssl-jax", style, el("main", head, panel(card), foot))


def summary(card: Mapping[str, Any]) -> str:
    """The card for a terminal."""
    pictures, twice = card["pictures"], sum(card["duplicates"].values())
    lines = [
        card["source"],
        f"sizes: heights {_ends(pictures['heights'])}, widths {_ends(pictures['widths'])}; channels "
        + ", ".join(f"{c}: {n:,}" for c, n in pictures["channels"].items()),
        f"cannot be read: {len(card['unreadable']):,}; pairs that are one picture: {twice:,}",
        *(f"{name}: {_extremes(counts)}" for name, counts in card["balance"].items()),
    ]
    if found := card.get("coverage"):
        numbers = ", ".join(f"{key} {found[key]:.3f}" for key in ("coverage", "recall", "precision", "density"))
        lines.append(f"beside {found['reference']}: {numbers}")
    return "\n".join(lines)


def _ends(values: list[int]) -> str:
    return f"{values[0]} to {values[-1]}" if values else "none"


def _extremes(counts: Mapping[str, int]) -> str:
    order = sorted(counts.items(), key=lambda item: item[1])
    (rare, few), (frequent, many) = order[0], order[-1]
    return f"{len(counts):,} values, from {few:,} ({rare}) to {many:,} ({frequent}) records"
