"""A comparison as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

from ssl_jax import __version__
from ssl_jax.compare import curves, words
from ssl_jax.compare.compute import Compute
from ssl_jax.compare.results import Claim, Table
from ssl_jax.compare.runs import Group, differences
from ssl_jax.report.charts import Picture
from ssl_jax.report.html import Child, Html, document, drawing, el, prose, table
from ssl_jax.report.sections import gallery

Pictures = Mapping[str, Sequence[Picture]]  # heading -> those of all groups


def html(
    groups: Sequence[Group],
    found: Table,
    made: Sequence[Claim],
    cost: Compute,
    pictures: Pictures,
    problems: Sequence[str],
) -> str:
    """The page."""
    style = resources.files("ssl_jax.report").joinpath("page.css").read_text(encoding="utf-8")
    names = " and ".join(group.name for group in groups)
    body = (
        el("header", el("p", "Comparison of runs", class_="kind"), el("h1", names), _runs(groups)),
        _results(groups, found, cost),
        _claims(made),
        _curves(groups, cost),
        _recipes(groups),
        [el("section", el("h2", heading), gallery(group)) for heading, group in pictures.items() if group],
        [el("p", prose(f"No picture here: {problem}"), class_="note") for problem in problems],
        el("footer", f"Made by ssl-jax {__version__}. This file needs no other."),
    )
    return document(f"{names} · ssl-jax", style, el("main", *body))


def _runs(groups: Sequence[Group]) -> Html:
    """How many runs each group has, and where they lie."""
    rows = [
        el("div", el("dt", group.name), el("dd", _seeds(group), el("br"), el("small", _places(group))))
        for group in groups
    ]
    return el("dl", rows, class_="facts")


def _seeds(group: Group) -> str:
    seeds = ", ".join(map(str, group.seeds))
    return f"{len(group.runs)} runs, seeds {seeds}" if len(group.runs) > 1 else f"one run, seed {seeds}"


def _places(group: Group) -> str:
    return ", ".join(str(run.record.path) for run in group.runs)


def _results(groups: Sequence[Group], found: Table, cost: Compute) -> Html:
    about = (
        "Beside a value: ± its standard deviation over seeds, or its 95 % interval over test records. Rows with a number in "
        "brackets are not of the same data and protocol, and not to be compared with each other."
    )
    head = ["", *(entry.name for entry in words.rows_of(groups, found))]
    notes = [f"{note}." for note in [*found.notes, f"{cost.unit}: {cost.why}"]]
    return el(
        "section",
        el("h2", "What they reached"),
        el("p", about),
        _wide(table(head, words.rows(groups, found, cost), class_="scores plain")),
        [el("p", prose(note), class_="note") for note in notes],
    )


def _claims(made: Sequence[Claim]) -> Html:
    """What differs by more than chance, and how that is known."""
    about = (
        "Each encoder is set beside the first one. Over test records: how sure it is of these trained networks; over seeds: of "
        f"their recipes. p values are two-sided; corrected: for all {len(made)} differences here (Holm)."
    )
    shown = [
        [el("h3", title), _wide(table(words.HEAD, map(words.claim_row, part), class_="scores plain"))]
        for title, part in words.by_reference(made).items()
    ]
    body = [el("p", about), *shown] if made else el("p", words.NOTHING)
    return el("section", el("h2", "By more than chance?"), body)


def _wide(rows: Html) -> Html:
    """A table that is scrolled where it is wider than the page."""
    return el("div", rows, class_="pan", tabindex=0)


def _curves(groups: Sequence[Group], cost: Compute) -> Html:
    found = [drawing(one.svg, one.caption) for one in curves.drawn(groups, cost)]
    about = (
        f"By examples seen, and by compute ({cost.why}). Runs of one recipe have one colour. What is of something else, as the "
        "loss of another objective, is drawn apart."
    )
    body = (
        [el("p", prose(about)), el("div", found, class_="pictures curves")]
        if found
        else el("p", "Nothing was logged yet.")
    )
    return el("section", el("h2", "How they went"), body)


def _recipes(groups: Sequence[Group]) -> Html:
    found = differences(groups)
    rows: list[list[Child]] = [
        [el("code", key), *(el("code", words.value(v)) for v in values)] for key, values in found.items()
    ]
    told = "The recipes are the same." if not found else f"{len(found)} keys differ; all others are the same."
    body = table(["key", *(group.name for group in groups)], rows, class_="plain") if rows else None
    return el("section", el("h2", "In what their recipes differ"), el("p", told), body)
