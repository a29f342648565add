"""`ssl-jax eval`: from a run directory to eval/<probe>.json and a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.cropped import cropped
from ssl_jax.data.fit import check_channels, check_records, check_scales
from ssl_jax.errors import UserError
from ssl_jax.evaluate import suite
from ssl_jax.evaluate.baselines import Lenient
from ssl_jax.evaluate.classes import class_names, labelled, labels_of, numbered_alike
from ssl_jax.evaluate.online import encoder_named, names_of
from ssl_jax.evaluate.own_task import missing_fields, own_task, with_own_task
from ssl_jax.evaluate.supervised import SupervisedFit
from ssl_jax.objectives.base import Encoder
from ssl_jax.recipe.own_data import tested_on
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.terminal import tell
from ssl_jax.rundir.writing import written
from ssl_jax.training import opening
from ssl_jax.training.records import as_learned
from ssl_jax.training.reopen import Opened, recipe_of, reopened

Failures = dict[str, Exception]


def evaluate_run(
    workdir: Path,
    probes: tuple[str, ...] | None = None,
    step: int | None = None,
    allow: tuple[str, ...] = (),
    encoder: str | Sequence[str] | None = None,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    data: str = "",
) -> str:
    """Probe the checkpoint of `step` (default: the newest), write eval/<probe>.json into the run (or `out`), and return the
    table.

    `probes` and `encoder` (a name, or several) default to the recipe's; code from outside `ssl_jax` is imported only if
    `allow` names its package. `overrides` change the recipe's section `evaluate`. `data` names labelled data in the place of the
    recipe's (`recipe/splits.py`). The pretraining data is not needed.
    Raises what kept a part of the table from being measured, or all of it from being written, after the rest was printed.
    """
    recipe = recipe_of(workdir, allow, overrides)
    recipe = tested_on(data, recipe, logger.info) if data else recipe
    if recipe.data.probe is None or recipe.data.test is None:
        raise UserError(
            "the recipe has no data.probe and data.test, since what was learnt from had no labels. Without them `ssl-jax report` "
            "shows losses, health, and pictures beside their nearest neighbours; with some labelled pictures of the same kind, a "
            f"folder for each class: ssl-jax eval --workdir {workdir} --data FOLDER"
        )
    opened = reopened(workdir, recipe, step)
    names = names_of(encoder or recipe.evaluate.encoder)
    chosen = {name: encoder_named(opened.objective, name) for name in names}
    settings = settings_of(opened, probes, allow)
    train, test = (labelled(part.build(), settings.label) for part in (recipe.data.probe, recipe.data.test))
    test = numbered_alike(train, test, settings.label)
    check_scales({"probe": train, "test": test})
    check_channels(opened.objective.augment, {"probe": train, "test": test})
    for name, source in (("probe", train), ("test", test)):
        logger.info("%s %s", name, opening.data(source))
        check_records(opened.objective.augment, source, BadRecords(settings.max_bad_fraction))
    results, failures = measured(opened, tuple(chosen), train, test, settings)
    if results["rows"]:
        results, failures = with_task(opened, tuple(chosen), test, settings, results, failures)
        saved(results, failures, out or workdir)
    if not failures:
        return suite.table(results)
    if results["rows"]:
        tell(suite.table(results))
    raise suite.reason(results, failures)


def saved(results: dict[str, Any], failures: Failures, folder: Path) -> None:
    """Write the results. Where that is impossible the table, and what is missing of it, is told before UserError says why."""
    try:
        written(partial(suite.save, results, say=logger.info), folder)
    except UserError:
        tell(suite.table(results))
        for where, error in failures.items():
            logger.warning("%s: %s", where, error)
        raise


def measured(
    opened: Opened, chosen: tuple[str, ...], train: Any, test: Any, settings: suite.Settings
) -> tuple[dict[str, Any], Failures]:
    """The table of `suite.evaluate`, and why parts of it are missing."""
    encoders = {name: (each, each.variables(opened.state)) for name, each in opened.objective.encoders().items()}
    trainer = partial(from_scratch, opened, train, settings)
    try:
        table = suite.evaluate(
            encoders, train, test, settings, trainer, opened.step, logger.info, opened.mesh, chosen
        )  # fmt: skip
    except suite.Incomplete as incomplete:
        return incomplete.results, dict(incomplete.failures)
    return table, {}


def with_task(
    opened: Opened,
    chosen: tuple[str, ...],
    test: Any,
    settings: suite.Settings,
    results: dict[str, Any],
    failures: Failures,
) -> tuple[dict[str, Any], Failures]:
    """The table with the objective's own task in the rows of its encoders, where the test records are such as it was given."""
    missing = missing_fields(opened.objective, opened.records.fields, test, settings.label, settings.target)
    if missing:
        logger.info("own task: not measured, since the test records have no %s", ", ".join(missing))
        return results, failures
    try:
        with jax.set_mesh(opened.mesh):
            learned = as_learned(opened.recipe, opened.objective.augment, test)
            found = own_task(
                opened.objective, opened.state, learned, settings.seed, settings.batch_size, settings.label, settings.target,
                BadRecords(settings.max_bad_fraction),
            )  # fmt: skip
    except Exception as error:  # told at the end, as what fails in a row is
        return results, failures | {"own task": error}
    return with_own_task(results, [suite.row_of(name) for name in chosen], found, opened.objective.validated), failures


def from_scratch(opened: Opened, train: Any, settings: suite.Settings, encoder: Encoder) -> Callable[..., Any]:
    """What trains an encoder of that kind on the labels of `train`."""
    tolerance = Lenient(settings.max_bad_fraction)
    classes = classes_of(train, settings.label, tolerance(train))
    augment, section = opened.objective.augment, opened.recipe.data
    views = partial(cropped, augment=augment, place=section.crop, mode=section.resize)
    return SupervisedFit(encoder, augment, classes, settings.label, settings.target, tolerance, views)


def settings_of(opened: Opened, probes: tuple[str, ...] | None, allow: tuple[str, ...]) -> suite.Settings:
    """The recipe's `evaluate` section, with other `probes` if they are given."""
    section = opened.recipe.evaluate
    return suite.Settings(
        probes=probes or section.probes,
        baselines=section.baselines,
        shots=section.shots,
        draws=section.draws,
        seed=opened.recipe.seed,
        workers=section.workers if opened.mesh.size == 1 else 1,  # threads would start collectives in any order
        supervised_examples=section.supervised_examples,
        supervised_few_examples=section.supervised_few_examples,
        label=section.label,
        target=section.target or None,
        max_bad_fraction=opened.recipe.data.max_bad_fraction,
        allow=allow,
    )


def classes_of(source: Any, label: str = "label", bad: BadRecords | None = None) -> int:
    """How many classes a labelled source has: the names it knows, or else its largest label plus one."""
    named = class_names(source, label)
    labels = None if named else labels_of(source, label, bad)
    if not named and (labels is None or labels.max() < 0):
        raise UserError(f"the probe split has no field {label!r} to learn from; name its labels in evaluate.label")
    return len(named) if labels is None else 1 + int(labels.max())
