"""The table of probes: this run beside its baselines, from `eval/<probe>.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ssl_jax.report.html import Html, el, table
from ssl_jax.report.record import Record

ROWS = {
    "pretrained": ("Pretrained", "this run, frozen"),
    "random": ("Random init", "same encoder, untrained"),
    "raw": ("Raw inputs", "no encoder"),
    "supervised": ("Supervised", "same encoder, trained on the same labels"),
}
PROBES = ("linear", "knn", "fewshot")


class Score(NamedTuple):
    """A mean, and the standard deviation over draws of the labels where there are several. Fractions, if `percent`."""

    mean: float
    std: float | None
    percent: bool


class Scores(NamedTuple):
    """`cells[row][column]`, the column titles in order, and a line of protocol for each probe."""

    cells: Mapping[str, Mapping[str, Score]]
    columns: tuple[str, ...]
    protocols: tuple[str, ...]


def scores(evaluations: Mapping[str, Mapping[str, Any]]) -> Scores:
    """All evaluations that name their `columns`, the usual probes first, as one table. Rows in the order of `ROWS`."""
    found: dict[str, dict[str, Score]] = {}
    columns: list[str] = []
    protocols = []
    named = {name: e for name, e in evaluations.items() if e.get("columns")}
    for name in sorted(named, key=lambda n: (PROBES.index(n) if n in PROBES else len(PROBES), n)):
        evaluation = named[name]
        if evaluation.get("protocol"):
            protocols.append(str(evaluation["protocol"]))
        for column in evaluation["columns"]:
            columns.append(str(column["title"]))
            for row, result in evaluation.get("results", {}).items():
                mean = result.get(column["value"])
                if isinstance(mean, int | float):
                    percent = column.get("unit") == "percent"
                    score = Score(mean, result.get(column.get("spread")), percent)
                    found.setdefault(row, {})[columns[-1]] = score
    order = [*(r for r in ROWS if r in found), *(r for r in found if r not in ROWS)]
    return Scores({row: found[row] for row in order}, tuple(columns), tuple(protocols))


def verdict(scores: Scores) -> str:
    """The first column in a sentence, e.g. `linear 86.1 %: 5.7 points above random init.`, or ""."""
    own = next(iter(scores.cells.get("pretrained", {}).items()), None)
    if own is None:
        return ""
    column, score = own
    others = [(name, scores.cells[row][column]) for row, (name, _) in ROWS.items()
              if row != "pretrained" and column in scores.cells.get(row, {})]  # fmt: skip
    told = [f"{_difference(score, other)} {name.lower()}" for name, other in others]
    sentence = f"{column[:1].upper()}{column[1:]} {_number(score)}"
    return f"{sentence}: {', '.join(told)}." if told else f"{sentence}."


def section(record: Record) -> Html:
    """Probes and baselines, or how to get them."""
    found = scores(record.evaluations)
    title = el("h2", "Is it any good?")
    if not found.cells:
        command = el("code", f"ssl-jax eval --workdir {record.path}")
        return el("section", title, el("p", "Not evaluated yet: ", command))
    best = {c: max(row[c].mean for row in found.cells.values() if c in row) for c in found.columns}
    rows = []
    for key, cells in found.cells.items():
        name, about = ROWS.get(key, (key, ""))
        rows.append([[name, el("small", about)], *(_cell(cells.get(c), best[c]) for c in found.columns)])
    at = {e["step"] for e in record.evaluations.values() if "step" in e}
    where = f"Checkpoint of step {', '.join(str(s) for s in sorted(at, key=str))}. " if at else ""
    return el(
        "section",
        title,
        el("p", "Accuracy on the test split in percent; the best of each column is bold."),
        table(["Features", *found.columns], rows, class_="scores"),
        el("p", f"{where}{'; '.join(found.protocols)}.", class_="note") if found.protocols or where else None,
    )


def _cell(score: Score | None, best: float) -> Html:
    if score is None:
        return el("span", "-", aria_label="not measured")
    scale = 100 if score.percent else 1
    mean = el(
        "strong" if score.mean == best else "span",
        f"{scale * score.mean:.1f}" if score.percent else f"{score.mean:.4g}",
    )
    spread = f" ± {scale * score.std:.1f}" if isinstance(score.std, int | float) else None
    return el("span", mean, spread)


def _number(score: Score) -> str:
    return f"{100 * score.mean:.1f} %" if score.percent else f"{score.mean:.4g}"


def _difference(score: Score, other: Score) -> str:
    gap = (score.mean - other.mean) * (100 if score.percent else 1)
    size = f"{abs(gap):.1f} points" if score.percent else f"{abs(gap):.3g}"
    return f"{size} {'above' if gap >= 0 else 'below'}"
