"""The table of probes: this run beside its baselines, from `eval/<probe>.json`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ssl_jax.report.html import Html, el, prose, table
from ssl_jax.report.record import Record
from ssl_jax.rundir.log import rounded

PROBES = ("linear", "knn", "fewshot")  # in this order; others follow
ABOUT = {
    "pretrained": "this run, frozen",
    "random": "same encoder, untrained",
    "raw": "no encoder at all",
    "supervised": "same encoder, trained on the same labels",
}


class Score(NamedTuple):
    """A number; its standard deviation over draws, or its 95 % interval over test examples, where they were measured."""

    value: float
    percent: bool
    std: float | None = None
    interval: tuple[float, float] | None = None


class Scores(NamedTuple):
    """`rows[row][column]` and the column titles, in order; how it was measured, and what to beware of, in sentences."""

    rows: Mapping[str, Mapping[str, Score]]
    columns: tuple[str, ...]
    protocol: str
    notes: tuple[str, ...]


def scores(evaluations: Mapping[str, Mapping[str, Any]]) -> Scores:
    """All evaluations that say which `columns` they have, as one table."""
    rows: dict[str, dict[str, Score]] = {}
    columns: list[str] = []
    order = sorted(evaluations, key=lambda name: (PROBES.index(name) if name in PROBES else len(PROBES), name))
    known = [evaluations[name] for name in order if evaluations[name].get("columns")]
    for evaluation in known:
        for column in evaluation["columns"]:
            columns.append(str(column["title"]))
            for row, result in evaluation.get("rows", {}).items():
                if isinstance(result.get(column["value"]), int | float):
                    rows.setdefault(row, {})[columns[-1]] = _score(result, column)
    shown = tuple(c for c in columns if any(c in row for row in rows.values()))
    return Scores(rows, shown, _protocol(known), tuple(_notes(known)))


def verdict(found: Scores) -> str:
    """The first column in a sentence, e.g. `Linear 86.1 %: 5.7 points above random init, ...`, or ""."""
    own = next((row for row in found.rows if row.startswith("pretrained")), None)
    column = next((c for c in found.columns if own and c in found.rows[own]), None)
    if own is None or column is None or not found.rows[own][column].percent:
        return ""
    value = found.rows[own][column].value
    gaps = []
    for row, cells in found.rows.items():
        if _is_baseline(row, own) and column in cells:
            gap = 100 * (value - cells[column].value)
            gaps.append(f"{abs(gap):.1f} points {'above' if gap >= 0 else 'below'} {row}")
    sentence = f"{column[:1].upper()}{column[1:]} probe {100 * value:.1f} %"
    return f"{sentence}: {', '.join(gaps)}." if gaps else f"{sentence}."


def _is_baseline(row: str, own: str) -> bool:
    """Whether `row` is a baseline of the encoder in the row `own`: one that names no encoder, or this one."""
    encoder = row.partition(" (")[2]
    return not row.startswith("pretrained") and encoder in ("", own.partition(" (")[2])


def section(record: Record) -> Html:
    """Probes and baselines, or how to get them."""
    found = scores(record.evaluations)
    title = el("h2", "Is it any good?")
    if not found.rows:
        data = record.config.get("data") or {}
        unlabelled = isinstance(data, Mapping) and data.get("probe", "") is None
        command = el("code", f"ssl-jax eval --workdir {record.path}{' --data FOLDER' if unlabelled else ''}")
        told = (
            "Its data has no labels. With labelled records of the same kind: " if unlabelled else "Not evaluated yet: "
        )
        return el("section", title, el("p", told, command))
    best = {c: max(row[c].value for row in found.rows.values() if c in row) for c in found.columns}
    rows = []
    for row, cells in found.rows.items():
        about = next((text for start, text in ABOUT.items() if row.startswith(start)), "")
        name = [f"{row[:1].upper()}{row[1:]}", el("small", about)]
        rows.append([name, *(_cell(cells.get(c), best[c]) for c in found.columns)])
    intro = "Test accuracy in percent, best of each column bold; under it its 95 % interval, or ± std over label draws."
    return el(
        "section",
        title,
        el("p", intro),
        table(["features", *found.columns], rows, class_="scores"),
        el("p", prose(found.protocol), class_="note"),
        [el("p", prose(note), class_="note") for note in found.notes],
    )


def _score(result: Mapping[str, Any], column: Mapping[str, str]) -> Score:
    percent = column.get("unit") == "percent"
    std = result.get(column["spread"]) if "spread" in column else None
    interval = result.get("interval") if column["value"] == "accuracy" else None
    value = result[column["value"]]
    value = math.exp(min(value, 700)) if column.get("unit") == "exp" else value
    return Score(value, percent, std, tuple(interval) if interval else None)


def _cell(score: Score | None, best: float) -> Html:
    if score is None:
        return el("span", "-", aria_label="not measured")
    if not score.percent:
        return el("span", rounded(score.value))
    value = el("strong" if score.value == best else "span", f"{100 * score.value:.1f}")
    if score.std is not None:
        return el("span", value, el("small", f"± {100 * score.std:.1f}"))
    if score.interval is not None:
        return el("span", value, el("small", " to ".join(f"{100 * end:.1f}" for end in score.interval)))
    return el("span", value)


def _protocol(known: Iterable[Mapping[str, Any]]) -> str:
    """What was learnt from and tested on, then each probe's protocol, in one line."""
    parts: list[str] = []
    for evaluation in known:
        if not parts:
            count = lambda split: f"{(evaluation.get(split) or {}).get('records', 0):,}"  # noqa: E731, B023
            step = evaluation.get("step")
            at = "" if step is None else f"Checkpoint of step {step:,}. "
            parts.append(
                f"{at}Learnt from {count('train')} records, tested once on {count('test')}{_chance(evaluation)}"
            )
        if evaluation.get("protocol"):
            parts.append(str(evaluation["protocol"]))
    return f"{'; '.join(parts)}." if parts else ""


def _chance(evaluation: Mapping[str, Any]) -> str:
    found = [r["chance"] for r in evaluation.get("rows", {}).values() if "chance" in r]
    return f" (chance {100 * found[0]:.1f} %)" if found else ""


def _notes(known: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for evaluation in known:
        for row, result in evaluation.get("rows", {}).items():
            if result.get("note"):
                yield f"Note on {row}, {evaluation.get('probe', 'a probe')}: {result['note']}."
