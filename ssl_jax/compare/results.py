"""What the probes found, side by side: only what was measured of the same data by the same protocol has one column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.compare.runs import Group, Run
from ssl_jax.compare.significance import Difference, holm, over_records, over_seeds
from ssl_jax.report.kept import kept_records
from ssl_jax.report.scores import PROBES

OWN = "pretrained"  # how rows of encoders begin that were trained
WHAT = {
    "train": "probe records",
    "test": "test records",
    "protocol": "a protocol",
    "label": "labels",
    "target": "a target",
}


class Measure(NamedTuple):
    """A column: what makes two numbers comparable. `leads`: it is the first of its probe, which intervals belong to."""

    probe: str
    title: str
    value: str
    unit: str
    leads: bool
    protocol: str
    train: str
    test: str
    label: str
    target: str


class Entry(NamedTuple):
    """A row: an encoder of a group, by the name of its row in the evaluation."""

    group: Group
    row: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.group.name} {self.row.removeprefix(OWN).strip()}"


class Result(NamedTuple):
    """Of an entry: a value for each run that was measured, the seeds of these, and the interval over test records of a single
    one."""

    values: tuple[float, ...]
    seeds: tuple[Any, ...]
    interval: tuple[float, float] | None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds, None for one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Table:
    """`cells[entry, measure]`; names of the columns, and notes on those that are not comparable."""

    entries: tuple[Entry, ...]
    measures: tuple[Measure, ...]
    cells: Mapping[tuple[Entry, Measure], Result]

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles of the columns; those of one name have numbers."""
        names = [measure.title for measure in self.measures]
        return tuple(n if names.count(n) == 1 else f"{n} [{names[: i + 1].count(n)}]" for i, n in enumerate(names))

    @property
    def notes(self) -> list[str]:
        """Which columns of one name are not to be compared, and why; then each protocol."""
        return [*self._apart(), *dict.fromkeys(m.protocol for m in self.measures if m.protocol)]

    def _apart(self) -> Iterable[str]:
        first: dict[tuple[str, str], tuple[str, Measure]] = {}
        for title, measure in zip(self.titles, self.measures, strict=True):
            known, other = first.setdefault((measure.probe, measure.value), (title, measure))
            if other is not measure:
                what = " and ".join(WHAT[k] for k in WHAT if getattr(other, k) != getattr(measure, k))
                yield f"{title} is not comparable with {known}: it has {what or 'columns'} of its own"


class Claim(NamedTuple):
    """A difference of `entry` from the table's first one in a measure; `corrected`: p, as one of several."""

    entry: Entry
    reference: Entry
    measure: Measure
    title: str
    difference: Difference
    corrected: float


def table(groups: Sequence[Group]) -> Table:
    """Every measure of every group's encoders."""
    found: dict[tuple[Entry, Measure], dict[str, tuple[Run, Mapping[str, Any]]]] = {}
    for group in groups:
        for run in group.runs:
            for row, measure, result in _measured(run):
                found.setdefault((Entry(group, row), measure), {})[run.name] = (run, result)
    cells = {key: _result(key[1], list(each.values())) for key, each in found.items()}
    entries, measures = tuple(dict.fromkeys(e for e, _ in cells)), tuple(dict.fromkeys(m for _, m in cells))
    order = [*PROBES, *dict.fromkeys(measure.probe for measure in measures)]
    kinds = list(dict.fromkeys((measure.probe, measure.value) for measure in measures))
    measures = tuple(sorted(measures, key=lambda m: (order.index(m.probe), kinds.index((m.probe, m.value)))))
    return Table(entries, measures, cells)


def claims(found: Table) -> list[Claim]:
    """Each entry beside the first one that has the measure: over seeds where both have several, and over test records."""
    made: list[Claim] = []
    for measure, title in zip(found.measures, found.titles, strict=True):
        if measure.probe == "health":  # what tells one step of a run from another
            continue
        reference, *others = [entry for entry in found.entries if (entry, measure) in found.cells]
        for entry in others:
            differences = (_by_seeds(found, reference, entry, measure), _by_records(found, reference, entry, measure))
            made += [Claim(entry, reference, measure, title, d, d.p) for d in differences if d is not None]
    corrected = holm([claim.difference.p for claim in made])
    return [claim._replace(corrected=p) for claim, p in zip(made, corrected, strict=True)]


def _by_seeds(found: Table, reference: Entry, entry: Entry, measure: Measure) -> Difference | None:
    a, b = found.cells[reference, measure], found.cells[entry, measure]
    if len(a.seeds) > 1 and set(a.seeds) == set(b.seeds):
        values = dict(zip(b.seeds, b.values, strict=True))
        return over_seeds(a.values, [values[seed] for seed in a.seeds], paired=True)
    return over_seeds(a.values, b.values, paired=False)


def _by_records(found: Table, reference: Entry, entry: Entry, measure: Measure) -> Difference | None:
    """Of what was kept of each test record, as a mean over the runs of a group, where the mean of that is the measure."""
    a, b = (_correct(each, measure) for each in (reference, entry))
    if a is None or b is None or not np.array_equal(a[0], b[0]):
        return None
    if any(abs(kept[1].mean() - found.cells[each, measure].mean) > 1e-6 for kept, each in ((a, reference), (b, entry))):
        return None
    return over_records(a[1], b[1])


def _correct(entry: Entry, measure: Measure) -> tuple[np.ndarray, np.ndarray] | None:
    """Ids of the test records, in order, and how right each was; None where runs kept nothing, or not of the same records."""
    kept = []
    for run in entry.group.runs:
        if (entry.row, measure) in {(row, other) for row, other, _ in _measured(run)}:
            kept.append(kept_records(run.record.path, measure.probe).get(entry.row, {}))
    if not kept or not all(_sound(one) for one in kept):
        return None
    ids, *others = [np.sort(one["ids"]) for one in kept]
    if not all(np.array_equal(ids, other) for other in others):
        return None
    return ids, np.mean([one["correct"][np.argsort(one["ids"], kind="stable")] for one in kept], axis=0)


def _sound(kept: Mapping[str, np.ndarray]) -> bool:
    ids, correct = kept.get("ids"), kept.get("correct")
    return ids is not None and correct is not None and ids.ndim == 1 and correct.shape == ids.shape and len(ids) > 1


def _measured(run: Run) -> Iterable[tuple[str, Measure, Mapping[str, Any]]]:
    """Rows of the run's own encoders, and what each was measured by."""
    for name, evaluation in run.record.evaluations.items():
        for place, column in enumerate(evaluation["columns"]):
            measure = _measure(name, evaluation, column, place == 0)
            for row, result in evaluation["rows"].items():
                if row.startswith(OWN) and isinstance(result.get(measure.value), int | float):
                    yield row, measure, result


def _measure(name: str, evaluation: Mapping[str, Any], column: Mapping[str, str], leads: bool) -> Measure:
    data = [str((evaluation.get(part) or {}).get("fingerprint", "")) for part in ("train", "test")]
    words = [str(evaluation.get(key) or "") for key in ("label", "target")]
    return Measure(
        name, column["title"], column["value"], column.get("unit", ""), leads,
        str(evaluation.get("protocol", "")), *data, *words,
    )  # fmt: skip


def _result(measure: Measure, each: Sequence[tuple[Run, Mapping[str, Any]]]) -> Result:
    values = tuple(_value(result[measure.value], measure.unit) for _, result in each)
    interval = each[0][1].get("interval") if measure.leads and len(each) == 1 else None
    return Result(values, tuple(run.seed for run, _ in each), tuple(interval) if interval else None)


def _value(value: float, unit: str) -> float:
    return math.exp(min(value, 700)) if unit == "exp" else float(value)
