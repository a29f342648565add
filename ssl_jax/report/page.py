"""A run as one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_jax import __version__
from ssl_jax.errors import UserError
from ssl_jax.recipe import parse
from ssl_jax.report import charts, data_card, mistakes, scores, sections
from ssl_jax.report.charts import Curve, Picture
from ssl_jax.report.html import document, el
from ssl_jax.report.record import Record, read
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.writing import own_folder, replace_file, written

if TYPE_CHECKING:
    from ssl_jax.recipe import Recipe

MADE, KNOWN, GIVEN = "What it makes of new examples", "What lies close in its features", "What it was given"

Groups = dict[str, list[Picture]]


def report(workdir: Path, allow: tuple[str, ...] = (), out: Path | None = None) -> Path:
    """Write `report.html` and `samples/*` of the run in `workdir`, there or in the folder `out`; returns the page.

    What is not there is left out, and the page says so: a run that never saved has no pictures of its features. `allow`
    are the packages besides `ssl_jax` that the recipe may use.
    Raises UserError for a recipe that is damaged or that needs code that was not allowed, for another run's checkpoint, and
    where the page cannot be written: it lies in a temporary folder then.
    """
    record = read(workdir)
    recipe = parse(record.config, allow)
    recipe.check()
    curves = charts.curves(record)
    groups, problems = drawn(recipe, record)
    for problem in problems:
        logger.warning("report: %s", problem)
    files = {f"{curve.name}.svg": curve.file for curve in curves}
    files |= {f"{picture.name}.png": picture.png for group in groups.values() for picture in group}
    return written(partial(save, html(record, curves, groups, problems), files), out or workdir)


def save(page: str, files: Mapping[str, bytes], folder: Path) -> Path:
    """Write a page as `report.html`, and its pictures as files of their own under `samples/`."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "report.html", page.encode(errors="replace"))  # JSON can name halves of characters
    for name, content in files.items():
        replace_file(own_folder(folder / "samples") / name, content)
    return folder / "report.html"


def html(record: Record, curves: list[Curve], groups: Groups, problems: list[str]) -> str:
    """The page."""
    style = resources.files("ssl_jax.report").joinpath("page.css").read_text(encoding="utf-8")
    body = (
        sections.headline(record),
        scores.section(record),
        mistakes.sections(record),
        sections.curves(curves),
        sections.samples(groups, problems),
        data_card.panel(record.card) if record.card else None,
        sections.config(record),
        sections.environment(record),
        sections.bad_records(record),
        el("footer", f"Made by ssl-jax {__version__} from {record.path.resolve().name}/. This file needs no other."),
    )
    return document(f"{record.path.resolve().name} · ssl-jax", style, el("main", *body))


def drawn(recipe: Recipe, record: Record) -> tuple[Groups, list[str]]:
    """Pictures by heading from the data and the newest checkpoint, and what kept some from being drawn."""
    if not recipe.log.pictures:
        return {}, ["the recipe turns them off (log.pictures=False)"]
    from ssl_jax.report import figures
    from ssl_jax.report.retrieved import retrieved
    from ssl_jax.training.ownership import ForeignCheckpoint
    from ssl_jax.training.records import as_learned
    from ssl_jax.training.run import build

    trained = cache(lambda: figures.restore(recipe, record.path))

    def given() -> list[Picture]:
        source = recipe.data.pretrain.build()
        setup = build(recipe, len(source))
        return figures.given(recipe, setup, as_learned(recipe, setup.objective.augment, source))

    def known() -> list[Picture]:
        pictures, told = figures.of_features(recipe, trained(), record)
        problems.update(dict.fromkeys(told))
        return pictures + retrieved(recipe, trained())

    drawers = {MADE: lambda: figures.shown(recipe, trained()), KNOWN: known, GIVEN: given}
    groups: Groups = {heading: [] for heading in drawers}
    problems: dict[str, None] = {}
    for heading, draw in drawers.items():
        try:
            groups[heading] = draw()
        except ForeignCheckpoint:  # pictures of something else would be drawn
            raise
        except UserError as error:  # no checkpoint yet, or the data is on another machine: the rest of the page stands
            problems[str(error)] = None
    return groups, list(problems)
