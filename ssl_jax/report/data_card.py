"""The card of a run's data on its page: how even it is, what is in it twice, and what it lacks beside a reference set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ssl_jax.report.html import Child, Html, el, table

NUMBER = (int, float)
CARD = {
    "source": str,
    "records": int,
    "fingerprint": str,
    "pictures": {"heights": [int], "widths": [int], "shapes": int, "channels": {str: int}, "brightness?": [NUMBER]},
    "unreadable": [{"name": str, "reason": str}],
    "duplicates": {str: int},
    "balance": {str: {str: int}},
    "coverage?": {
        "reference": str, "k": int, "precision": NUMBER, "recall": NUMBER, "density": NUMBER, "coverage": NUMBER,
        "by": {str: {str: [NUMBER]}},
    },
}  # fmt: skip
SHOWN = 12  # values of a column: the rarest and the most frequent


def panel(card: Mapping[str, Any]) -> list[Html]:
    """The sections of a card that fits `CARD`."""
    return [
        facts(card),
        *(balance(name, counts) for name, counts in card["balance"].items()),
        *coverage(card.get("coverage")),
    ]


def facts(card: Mapping[str, Any]) -> Html:
    """Counts, sizes, channels, what cannot be read, what is there twice."""
    pictures, twice = card["pictures"], {kind: n for kind, n in card["duplicates"].items() if n}
    rows: dict[str, tuple[str, str]] = {
        "Records": (f"{card['records']:,}", card["source"]),
        "Sizes": _sizes(pictures),
        "Channels": (", ".join(f"{n:,} with {c}" for c, n in pictures["channels"].items()), "pictures of so many"),
        "Brightness": (_ends(pictures.get("brightness", ())), "of 255: 5 %, median, 95 % of the pictures"),
        "Cannot be read": (f"{len(card['unreadable']):,}", "; ".join(b["name"] for b in card["unreadable"][:3])),
        "Pairs that are one picture": (
            f"{sum(twice.values()):,}",
            ", ".join(f"{kind} {n:,}" for kind, n in twice.items()),
        ),
    }
    shown = [
        el("div", el("dt", k), el("dd", value, el("br"), el("small", small)))
        for k, (value, small) in rows.items()
        if value
    ]
    return el("section", el("h2", "The data"), el("dl", shown, class_="facts"))


def balance(name: str, counts: Mapping[str, int]) -> Html:
    """How often each value of a column is there."""
    order = sorted(counts.items(), key=lambda item: -item[1])
    shown = order if len(order) <= SHOWN else [*order[: SHOWN // 2], *order[-SHOWN // 2 :]]
    total, most = sum(counts.values()), max(counts.values())
    rows: list[list[Child]] = [[value, _bar(n / most), f"{n:,}", f"{100 * n / total:.1f} %"] for value, n in shown]
    times = most / max(min(counts.values()), 1)
    ratio = (
        "all equally frequent" if times == 1 else f"the most frequent is {times:.3g} times as frequent as the rarest"
    )
    about = f"{len(counts):,} values; {ratio}; evenness {_evenness(counts):.3f} (1: all alike)."
    left = f" The {SHOWN // 2} most frequent and the {SHOWN // 2} rarest." if len(order) > SHOWN else ""
    return el(
        "section", el("h2", f"Balance of {name}"), el("p", about + left), table(["value", "", "records", "part"], rows)
    )


def coverage(found: Mapping[str, Any] | None) -> list[Html]:
    """What of the reference the data cover in feature space."""
    if not found:
        return []
    whole, part, among = (f"{100 * found[key]:.1f} %" for key in ("coverage", "recall", "precision"))
    told = (
        f"Of {found['reference']}, {whole} have a record of the data nearer than their own {found['k']}th neighbour (coverage); "
        f"{part} lie among the data (recall), and {among} of the data among them (precision, density "
        f"{found['density']:.2f}; Naeem et al. 2020)."
    )
    tables = [_by(name, values) for name, values in found["by"].items() if values]
    return [el("section", el("h2", "Coverage of the reference"), el("p", told), tables)]


def _by(name: str, values: Mapping[str, Any]) -> list[Child]:
    order = sorted(values.items(), key=lambda item: item[1][1])
    rows: list[list[Child]] = [[v, _bar(part), f"{n:,}", f"{100 * part:.1f} %"] for v, (n, part) in order[:SHOWN]]
    return [el("h3", f"By {name}, the least covered first"), table([name, "", "records", "covered"], rows)]


def _bar(part: float) -> Html:
    return el("meter", value=f"{part:.3f}", min=0, max=1, aria_hidden="true")


def _sizes(pictures: Mapping[str, Any]) -> tuple[str, str]:
    heights, widths = pictures["heights"], pictures["widths"]
    if len(heights) != 3 or len(widths) != 3:
        return "", ""
    if pictures["shapes"] == 1:
        return f"{widths[0]} x {heights[0]}", "all"
    small = f"{pictures['shapes']:,} shapes; medians {widths[1]} x {heights[1]}"
    return f"{widths[0]} to {widths[2]} wide, {heights[0]} to {heights[2]} high", small


def _ends(values: Any) -> str:
    return " to ".join(f"{v:g}" for v in values)


def _evenness(counts: Mapping[str, int]) -> float:
    """Entropy of the values over that of equal ones."""
    total, kinds = sum(counts.values()), sum(n > 0 for n in counts.values())
    entropy = -sum(n / total * math.log(n / total) for n in counts.values() if n)
    return 1.0 if kinds < 2 else entropy / math.log(kinds)
