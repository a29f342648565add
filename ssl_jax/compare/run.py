"""`ssl-jax compare`: from run directories to a table and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ssl_jax.compare.compute import compute
from ssl_jax.compare.page import html
from ssl_jax.compare.results import claims, table
from ssl_jax.compare.runs import Group, grouped, opened
from ssl_jax.compare.words import as_text
from ssl_jax.errors import UserError
from ssl_jax.recipe import parse
from ssl_jax.report.charts import Picture
from ssl_jax.report.page import drawn
from ssl_jax.rundir.writing import replace_file, written

Groups = dict[str, list[Picture]]


def compare(
    folders: Sequence[tuple[str, Path]],
    out: Path,
    allow: tuple[str, ...] = (),
    pictures: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Write `compare.html` into the folder `out`, and return the table. `folders`: words of the command line and where they are.

    Raises UserError for fewer than two runs, one that is named twice, or a recipe that is damaged; what a run lacks is left out.
    """
    if len(folders) < 2:
        raise UserError(
            f"compare needs two runs or more and was given {len(folders)}; e.g. ssl-jax compare runs/a runs/b"
        )
    groups = grouped(opened(folders))
    say(f"{len(folders)} runs of {len(groups)} recipes")
    found, cost = table(groups), compute(groups, allow)
    made = claims(found)
    shown, problems = _pictures(groups, allow, say) if pictures else ({}, [])
    page = html(groups, found, made, cost, shown, problems)
    written(partial(_save, page), out)
    return as_text(groups, found, made, cost)


def _save(page: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "compare.html", page.encode(errors="replace"))


def _pictures(groups: Sequence[Group], allow: tuple[str, ...], say: Callable[[str], None]) -> tuple[Groups, list[str]]:
    """Pictures of the first run of each group under the headings of its report, and why some are not there."""
    found: Groups = {}
    problems: list[str] = []
    for group in groups:
        say(f"pictures of {group.first.name} ...")
        made, told = drawn(parse(group.first.record.config, allow), group.first.record)
        problems += [f"{group.first.name}: {problem}" for problem in told]
        for heading, pictures in made.items():
            found.setdefault(heading, []).extend(_of(group, picture) for picture in pictures)
    return found, problems


def _of(group: Group, picture: Picture) -> Picture:
    name = group.first.name
    return replace(picture, alt=f"{name}: {picture.alt}", caption=f"{name}. {picture.caption}")
