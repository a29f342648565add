"""What the linear head gets wrong: the errors that it is surest of, classes it confuses, groups, and how far to believe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ssl_jax.report.chart import Line, chart
from ssl_jax.report.html import Child, Html, drawing, el, table
from ssl_jax.report.kept import PerRecord, kept_records
from ssl_jax.report.record import Record

if TYPE_CHECKING:
    from ssl_jax.report.charts import Picture

HARD = 12  # errors that are shown
BINS = 10  # of the diagram of calibration
WRITTEN = 12  # classes up to which a confusion matrix has numbers in its cells
CONFUSED, GROUPS = 8, 20  # rows of a table
EDGE, WIDTH = 24, 340  # units of a confusion matrix: its words' letters, and the whole
BLUE = "#0072B2"
HEADS = ("linear", "errors")  # probes that keep what the linear head says of each record


class Hard(NamedTuple):
    """Errors, the surest first: ids [n] of test records, what was predicted, and with which probability."""

    ids: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray


def hardest(record: Record, row: str, fingerprint: str, count: int = HARD) -> Hard | None:
    """Those of the row of an encoder, if they were kept of the test records with that `fingerprint`; None otherwise."""
    for probe in HEADS:
        evaluation = record.evaluations.get(probe, {})
        if (evaluation.get("test") or {}).get("fingerprint") == fingerprint and row in evaluation["rows"]:
            kept = kept_records(record.path, probe).get(row, {})
            if _sound(kept):
                wrong = np.flatnonzero(~kept["correct"].astype(bool))
                first = wrong[np.argsort(-kept["probability"][wrong], kind="stable")][:count]
                return Hard(kept["ids"][first], kept["predicted"][first], kept["probability"][first])
    return None


def _sound(kept: PerRecord) -> bool:
    names = ("ids", "correct", "predicted", "probability")
    return all(n in kept and kept[n].ndim == 1 and len(kept[n]) == len(kept["ids"]) for n in names)


def pictured(panel: Any, hard: Hard, labels: Sequence[int], classes: Sequence[str], encoder: str) -> Picture:
    """`panel`, whose rows are the hard examples, each with what it is and what the head takes it for."""
    from ssl_jax.report.charts import Picture
    from ssl_jax.report.panels.paper import png
    from ssl_jax.report.plots import class_name

    said = [
        (f"says {class_name(int(p), classes)} ({q:.0%})", f"is {class_name(int(label), classes)}")
        for p, q, label in zip(hard.predicted, hard.probability, labels, strict=True)
    ]
    about = f"The test examples that the linear probe ({encoder}) is surest of and gets wrong: what it says, and what they are."
    return Picture("hard", png(_sheet(panel, said)), f"{about} {'; '.join(map(', '.join, said))}.", about, wide=True)


def _sheet(panel: Any, said: Sequence[Sequence[str]]) -> Any:
    """A cell for each row of `panel`, with lines of words under it."""
    from dataclasses import replace

    from ssl_jax.data.panels import Pictures
    from ssl_jax.report.contact import cell, enlargement
    from ssl_jax.report.panels.draw import draw
    from ssl_jax.report.panels.paper import INK, Tag, sheet

    if not isinstance(panel, Pictures):
        return draw(replace(panel, note="", captions=()), [[Tag(", ".join(words), INK)] for words in said])
    views = np.asarray(panel.rows)[:, 0]
    zoom = enlargement(*views.shape[1:3])
    return sheet([[cell(view, words, zoom)] for view, words in zip(views, said, strict=True)])


def sections(record: Record) -> list[Html]:
    """Confusion, calibration, groups and corruptions of each encoder, as far as they were measured."""
    parts = [
        *(_errors(record, row, found) for row, found in _own(record, "errors")),
        *(_groups(row, found) for row, found in _own(record, "subgroups")),
        *(_corrupted(row, found) for row, found in _own(record, "robustness")),
    ]
    body = [part for part in parts if part]
    return [el("section", el("h2", "Where it fails"), body)] if body else []


def _own(record: Record, probe: str) -> list[tuple[str, Mapping[str, Any]]]:
    rows = record.evaluations.get(probe, {}).get("rows", {})
    return [(row, found) for row, found in rows.items() if row.startswith("pretrained")]


def _errors(record: Record, row: str, found: Mapping[str, Any]) -> list[Child]:
    measures = {"macro F1": "macro_f1", "AUC": "auc", "ECE": "ece", "NLL": "nll", "Brier": "brier"}
    numbers = [[name, f"{found[key]:.3f}"] for name, key in measures.items() if key in found]
    counts = _matrix(found.get("confusion", ()))
    square = len(counts) > 1
    names = [str(name) for name in found.get("classes", ())]
    names = names if len(names) == len(counts) else [str(i) for i in range(len(counts))]
    figures = [confusion(counts, names)] if square else []
    figures += [diagram] if (diagram := calibration(kept_records(record.path, "errors").get(row, {}))) else []
    return [
        el("h3", f"Errors of the linear head, {row}"),
        table(("measure", "value"), numbers, class_="scores plain") if numbers else None,
        el("div", figures, class_="pictures curves") if figures else None,
        _most_confused(counts, names) if square else None,
    ]


def _matrix(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """[K, K]; [0, 0] where `rows` are no square of counts."""
    square = {len(rows)} == {len(row) for row in rows} and bool(np.isfinite(np.array(rows, np.float64)).all())
    return np.array(rows, np.float64) if square else np.zeros((0, 0))


def confusion(counts: np.ndarray, names: Sequence[str]) -> Html:
    """The matrix `counts` [K, K]: rows are what records are, columns what they are taken for; shares of a row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    label = min(120, 9 * max(map(len, names)) + 24)
    size, written = (WIDTH - label) / len(names), len(names) <= WRITTEN
    cells = [_share(label + size * j, 20 + size * i, size, shares[i, j], written) for i, j in np.ndindex(*shares.shape)]
    step = max(1, round(16 / size + 0.5)) if size < 16 else 1  # so that names do not cover each other
    heads = [_word(label + size * (j + 0.5), 14, str(j + 1), "middle") for j in range(0, len(names), step)]
    sides = [_word(0, 20 + size * (i + 0.5) + 4, f"{i + 1} {names[i]}"[:16]) for i in range(0, len(names), step)]
    alt = f"Confusion matrix of {len(names)} classes. Right: " + ", ".join(
        f"{name} {share:.0%}" for name, share in zip(names, np.diag(shares), strict=True)
    )
    caption = "Rows: what records are; columns: what they are taken for, by number; in percent of the row."
    svg = el("svg", heads, sides, cells, viewBox=f"0 0 {WIDTH} {24 + size * len(names):.0f}", class_="chart", role="img",
             aria_label=f"{alt}.", font_size=13, fill="currentColor")  # fmt: skip
    return drawing(svg, caption)


def _share(x: float, y: float, size: float, share: float, written: bool) -> list[Html]:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{size:.1f}", "height": f"{size:.1f}"}
    cell = el("rect", **place, fill=BLUE, fill_opacity=f"{share:.2f}", stroke="currentColor", stroke_opacity=0.15)
    ink = "#fff" if share > 0.5 else "currentColor"
    words = (
        [_word(x + size / 2, y + size / 2 + 4.5, f"{100 * share:.0f}", "middle", ink)]
        if written and share >= 0.005
        else []
    )
    return [cell, *words]


def _word(x: float, y: float, words: str, anchor: str = "start", ink: str = "currentColor") -> Html:
    return el("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, fill=ink)


def _most_confused(counts: np.ndarray, names: Sequence[str]) -> Html | None:
    apart = counts * (1 - np.eye(len(counts)))
    order = np.argsort(-apart, axis=None, kind="stable")[:CONFUSED]
    pairs = [np.unravel_index(place, counts.shape) for place in order]
    rows = [
        [names[i], names[j], f"{apart[i, j]:,.0f}", f"{apart[i, j] / max(counts[i].sum(), 1):.1%}"]
        for i, j in pairs
        if apart[i, j]
    ]
    return table(("is", "taken for", "records", "of its class"), rows, class_="scores plain") if rows else None


def calibration(kept: PerRecord) -> Html | None:
    """How often the head is right where it is so sure, in bins of its probability; None where that was not kept."""
    if not _sound(kept):
        return None
    sure, right = kept["probability"].astype(np.float64), kept["correct"].astype(np.float64)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    there = [b for b in range(BINS) if (bins == b).sum()]
    x, y = (np.array([100 * v[bins == b].mean() for b in there]) for v in (sure, right))
    told = ", ".join(f"{a:.0f} % sure: {b:.0f} % right" for a, b in zip(x, y, strict=True))
    lines = [Line("right (%)", x, y), Line("as sure as right", x[[0, -1]], x[[0, -1]])]
    svg = chart(lines, f"Calibration. {told}.", "Calibration", "sure (%)", ends=False)
    return None if svg is None else drawing(svg, "Below the dashed line the head is surer than it is right.")


def _groups(row: str, found: Mapping[str, Any]) -> list[Child]:
    groups: Mapping[str, Mapping[str, Any]] = found.get("groups", {})
    worst = sorted(groups.items(), key=lambda item: item[1]["accuracy"])[:GROUPS]
    rows: list[list[Child]] = [
        [name, _percent(each["accuracy"]), " to ".join(map(_percent, each["interval"])), f"{each['n']:,}"]
        for name, each in worst
    ]
    if not rows:
        return []
    head = ("group, the worst first", "accuracy (%)", "95 % (Wilson)", "records")
    return [el("h3", f"Groups of test records, {row}"), table(head, rows, class_="scores plain")]


def _corrupted(row: str, found: Mapping[str, Any]) -> list[Child]:
    errors: Mapping[str, Sequence[float]] = found.get("errors", {})
    means = {name: float(np.mean(each)) for name, each in errors.items() if each}
    rows: list[list[Child]] = [
        [name.replace("_", " "), ", ".join(f"{100 * e:.0f}" for e in errors[name]), _percent(means[name])]
        for name in sorted(means, key=lambda name: -means[name])
    ]
    if not rows:
        return []
    head = ("corruption, the worst first", "errors by severity (%)", "mean (%)")
    return [el("h3", f"Corrupted test records, {row}"), table(head, rows, class_="scores plain")]


def _percent(part: float) -> str:
    return f"{100 * part:.1f}"
