"""`ssl-jax eval`: from a run directory to eval/<probe>.json and a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.fit import check_records, check_scales
from ssl_jax.errors import UserError
from ssl_jax.evaluate import shared, suite
from ssl_jax.evaluate.baselines import Lenient
from ssl_jax.evaluate.classes import class_names, labelled, labels_of, numbered_alike
from ssl_jax.evaluate.clean import Audit, read_audit
from ssl_jax.evaluate.online import encoder_named, names_of
from ssl_jax.evaluate.own_task import missing_fields, own_task, with_own_task
from ssl_jax.evaluate.supervised import SupervisedFit
from ssl_jax.objectives.base import Encoder
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.terminal import tell
from ssl_jax.rundir.writing import written
from ssl_jax.training import opening
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
    clean: Path | None = None,
) -> str:
    """Probe the checkpoint of `step` (default: the newest), write eval/<probe>.json into the run (or `out`), and return the
    table.

    `probes` and `encoder` (a name, or several) default to the recipe's; code from outside `ssl_jax` is imported only if
    `allow` names its package. `overrides` change the recipe's section `evaluate`. The pretraining data is not needed.
    `clean` is an `audit.json`: probes are then told on the test records that it leaves as well.
    Test records that are in the probe split or the pretraining data are told, and marked in every protocol.
    Raises what kept a part of the table from being measured, or all of it from being written, after the rest was printed.
    """
    recipe = recipe_of(workdir, allow, overrides)
    if recipe.data.probe is None or recipe.data.test is None:
        raise UserError("the recipe has no data.probe and data.test; name labelled sources there to evaluate")
    opened = reopened(workdir, recipe, step)
    names = names_of(encoder or recipe.evaluate.encoder)
    chosen = {name: encoder_named(opened.objective, name) for name in names}
    settings = settings_of(opened, probes, allow)
    train, test = (labelled(part.build(), settings.label) for part in (recipe.data.probe, recipe.data.test))
    test = numbered_alike(train, test, settings.label)
    check_scales({"probe": train, "test": test})
    for name, source in (("probe", train), ("test", test)):
        logger.info("%s %s", name, opening.data(source))
        check_records(opened.objective.augment, source, BadRecords(settings.max_bad_fraction))
    audit = None if clean is None else read_audit(clean, test)
    marks = marks_of(opened, train, test)
    results, failures = measured(opened, tuple(chosen), train, test, settings, audit)
    results = with_marks(results, marks, () if audit is None else audit.notes())
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
    opened: Opened, chosen: tuple[str, ...], train: Any, test: Any, settings: suite.Settings, audit: Audit | None = None
) -> tuple[dict[str, Any], Failures]:
    """The table of `suite.evaluate`, and why parts of it are missing."""
    encoders = {name: (each, each.variables(opened.state)) for name, each in opened.objective.encoders().items()}
    trainer = partial(from_scratch, opened, train, settings)
    try:
        table = suite.evaluate(
            encoders, train, test, settings, trainer, opened.step, logger.info, opened.mesh, chosen, audit=audit
        )  # fmt: skip
    except suite.Incomplete as incomplete:
        return incomplete.results, dict(incomplete.failures)
    return table, {}


def marks_of(opened: Opened, train: Any, test: Any) -> tuple[str, ...]:
    """What the test records share with the probe split, and with the pretraining data where that is here; it is told."""
    pretrain = shared.built(opened.recipe.data.pretrain)
    others = {"probe split": train} | ({} if pretrain is None else {"pretraining data": pretrain})
    marks = shared.marks(test, others, opened.data)
    for mark in marks:
        logger.warning("%s: these results do not say how well new records do", mark)
    return marks


def with_marks(results: dict[str, Any], marks: tuple[str, ...], notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """The results, with marks and notes under the table, and the marks in each protocol, so that they go wherever a number goes."""
    if "protocol" not in results:
        return results
    told = "".join(f"; MARKED: {mark}" for mark in marks)
    protocols = {name: f"{protocol}{told}" for name, protocol in results["protocol"].items()}
    return results | {"protocol": protocols, "notes": [*results.get("notes", ()), *marks, *notes]}


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
            found = own_task(
                opened.objective, opened.state, test, settings.seed, settings.batch_size, settings.label, settings.target,
                BadRecords(settings.max_bad_fraction),
            )  # fmt: skip
    except Exception as error:  # told at the end, as what fails in a row is
        return results, failures | {"own task": error}
    return with_own_task(results, [suite.row_of(name) for name in chosen], found, opened.objective.validated), failures


def from_scratch(opened: Opened, train: Any, settings: suite.Settings, encoder: Encoder) -> Callable[..., Any]:
    """What trains an encoder of that kind on the labels of `train`."""
    tolerance = Lenient(settings.max_bad_fraction)
    classes = classes_of(train, settings.label, tolerance(train))
    return SupervisedFit(encoder, opened.objective.augment, classes, settings.label, settings.target, tolerance)


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
