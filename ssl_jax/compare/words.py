"""A comparison as lines for a terminal, and the words that it shares with the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ssl_jax.compare.compute import Compute
from ssl_jax.compare.results import Claim, Entry, Measure, Result, Table
from ssl_jax.compare.runs import Group, differences
from ssl_jax.recipe.values import shown
from ssl_jax.report.plots import number
from ssl_jax.rundir.log import rounded

NOTHING = "No two results of several seeds, or with kept records, are of the same data by the same protocol."
KEYS = 12  # of recipes that differ, on a terminal


def as_text(groups: Sequence[Group], found: Table, made: Sequence[Claim], cost: Compute) -> str:
    """The table, what differs by more than chance, and in what the recipes differ."""
    notes = [f"Note: {note}." for note in found.notes]
    table = aligned([["", *(entry.name for entry in rows_of(groups, found))], *rows(groups, found, cost)])
    return "\n".join([table, "", *notes, "", *_claims(made), "", *_differing(groups)])


def rows(groups: Sequence[Group], found: Table, cost: Compute) -> list[list[str]]:
    """Examples, compute, and a row for each measure with the value of each entry."""
    entries = rows_of(groups, found)
    told = [["examples", *map(seen, entries)], [cost.unit, *(spent(entry, cost) for entry in entries)]]
    for title, measure in zip(found.titles, found.measures, strict=True):
        cells = [cell(found.cells.get((entry, measure)), measure) for entry in entries]
        told.append([title, *(" ".join(filter(None, parts)) for parts in cells)])
    return told


HEAD = ("", "difference", "95 %", "p", "corrected", "test")


def claim_row(claim: Claim) -> list[str]:
    """`linear: b (student)`, `+1.2 points`, `+0.4 to +2.0`, `0.003`, `0.01`, `McNemar (5,000 records)`."""
    found, times, unit = claim.difference, *((100, " points") if claim.measure.unit == "percent" else (1, ""))
    ends = "-" if math.isnan(found.low) else f"{times * found.low:+.3g} to {times * found.high:+.3g}"
    chance = ["-", "-"] if math.isnan(found.p) else [f"{found.p:.2g}", f"{claim.corrected:.2g}"]
    of = f"{found.size:,}" if "seeds" in found.test else f"{found.size:,} records"
    name = f"{claim.title}: {claim.entry.name}"
    return [name, f"{times * found.value:+.3g}{unit}", ends, *chance, f"{found.test} ({of})"]


def by_reference(made: Sequence[Claim]) -> dict[str, list[Claim]]:
    """Claims with what they are set beside: the first encoder that has the measure."""
    names = dict.fromkeys(claim.reference.name for claim in made)
    return {f"Differences from {n}": [claim for claim in made if claim.reference.name == n] for n in names}


def rows_of(groups: Sequence[Group], found: Table) -> list[Entry]:
    """An entry for each encoder that was measured, and one for each group that was not."""
    known = {entry.group.name for entry in found.entries}
    return sorted(
        [*found.entries, *(Entry(group, "") for group in groups if group.name not in known)],
        key=lambda entry: [group.name for group in groups].index(entry.group.name),
    )


def spent(entry: Entry, cost: Compute) -> str:
    """What the first run of an entry's group cost, up to its last step."""
    run = entry.group.first
    (value,) = cost.spent(entry.group, run, [run.record.step])  # type: ignore[arg-type]
    return "-" if math.isnan(value) else number(float(value))


def seen(entry: Entry) -> str:
    """Examples that the first run of an entry's group has seen."""
    return f"{entry.group.first.record.step * entry.group.first.batch:,}"


def cell(result: Result | None, measure: Measure) -> tuple[str, str]:
    """The value, and how sure it is: over seeds, or else its interval over test records."""
    if result is None:
        return "-", ""
    told = _percent if measure.unit == "percent" else rounded
    if result.deviation is not None:
        return told(result.mean), f"± {told(result.deviation)}"
    if result.interval is not None:
        return told(result.mean), f"({' to '.join(map(told, result.interval))})"
    return told(result.mean), ""


def value(setting: Any) -> str:
    """A value of a recipe."""
    return "-" if setting is None else shown(setting, 60)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _claims(made: Sequence[Claim]) -> list[str]:
    if not made:
        return [NOTHING]
    parts = by_reference(made).items()
    return [line for title, part in parts for line in (f"{title}:", aligned([list(HEAD), *map(claim_row, part)]))]


def _differing(groups: Sequence[Group]) -> list[str]:
    if len(groups) < 2:
        return ["One recipe; the runs differ in their seeds only."]
    found = differences(groups)
    rows = [["", *(group.name for group in groups)], *([key, *map(value, values)] for key, values in found.items())]
    more = [f"... and {len(found) - KEYS} more keys; the page has all"] if len(found) > KEYS else []
    return (
        ["Recipes differ in:", aligned(rows[: KEYS + 1]), *more]
        if found
        else ["Recipes are the same; data or seeds differ."]
    )


def _percent(part: float) -> str:
    return f"{100 * part:.1f}"
