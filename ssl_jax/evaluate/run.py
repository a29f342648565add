"""`ssl-jax eval`: from a run directory to eval/<probe>.json and a table."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.cropped import cropped
from ssl_jax.data.fit import check_channels, check_records
from ssl_jax.devices.distributed import is_first
from ssl_jax.errors import UserError
from ssl_jax.evaluate import shared, suite
from ssl_jax.evaluate.baselines import Lenient
from ssl_jax.evaluate.cache import FOLDER, Cache
from ssl_jax.evaluate.classes import class_names, labels_of
from ssl_jax.evaluate.clean import Audit, read_audit
from ssl_jax.evaluate.encoders import origin_of
from ssl_jax.evaluate.online import encoder_named, names_of
from ssl_jax.evaluate.own_task import missing_fields, own_task, refused, with_own_task
from ssl_jax.evaluate.progress import Progress
from ssl_jax.evaluate.protocols import Protocol, protocol_named
from ssl_jax.evaluate.sources import probe_and_test
from ssl_jax.evaluate.supervised import SupervisedFit
from ssl_jax.objectives.base import Encoder
from ssl_jax.recipe import Recipe
from ssl_jax.recipe.probes import Entry, probe_name
from ssl_jax.rundir.log import logger, messages
from ssl_jax.rundir.terminal import tell
from ssl_jax.rundir.writing import written
from ssl_jax.training import opening
from ssl_jax.training.records import as_learned
from ssl_jax.training.reopen import Opened, recipe_of, reopened

Failures = dict[str, Exception]


@dataclass(frozen=True)
class Asked:
    """What of a run is evaluated, and how. What is None is as the recipe says.

    probes, protocol: names of probes, or a name in `protocols.py`, whose probes and options they are then.
    encoder: names of the objective's encoders.
    allow: packages whose code may be imported beside `ssl_jax`.
    overrides: changes of the recipe's section `evaluate`.
    data: names what to probe and test on.
    baselines: names of what stands beside.
    out: where results are written; None: into the run.
    cached: whether features are kept in eval/features, and found there.
    clean: an `audit.json`: probes are measured on the test records that it leaves, too.
    """

    probes: tuple[str, ...] | None = None
    protocol: str | None = None
    encoder: str | Sequence[str] | None = None
    allow: tuple[str, ...] = ()
    overrides: Sequence[str] = ()
    data: str | None = None
    baselines: tuple[str, ...] | None = None
    out: Path | None = None
    cached: bool = True
    clean: Path | None = None


def evaluate_run(
    workdir: Path,
    probes: tuple[str, ...] | None = None,
    step: int | None = None,
    allow: tuple[str, ...] = (),
    **options: Any,
) -> str:
    """Probe the checkpoint of `step` (default: the newest), write eval/<probe>.json into the run (or `out`), and return the
    table.

    `options` are the other fields of `Asked`. The pretraining data is not needed. How far it is goes to stderr and to eval.log.
    Test records that are in the probe split or the pretraining data are told, and marked in every protocol.
    Raises what kept a part of the table from being measured, or all of it from being written, after the rest was printed.
    """
    asked = Asked(probes, allow=allow, **options)
    named = None if asked.protocol is None else protocol_named(asked.protocol)
    recipe = recipe_of(workdir, allow, asked.overrides)
    with telling(asked.out or workdir) as status:
        sources = probe_and_test(recipe, asked.data)
        return evaluated(reopened(workdir, recipe, step), asked, named, *sources, status)


def evaluated(
    opened: Opened, asked: Asked, named: Protocol | None, train: Any, test: Any, status: Callable[[str], None]
) -> str:
    """As `evaluate_run`, of a run and sources that are open."""
    workdir, recipe = opened.workdir, opened.recipe
    chosen = {n: encoder_named(opened.objective, n) for n in names_of(asked.encoder or recipe.evaluate.encoder)}
    probes = as_in(recipe, asked.probes) if named is None else named.probes
    settings = settings_of(opened, probes, asked.allow)
    settings = settings if asked.baselines is None else replace(settings, baselines=asked.baselines)
    check_channels(opened.objective.augment, {"probe": train, "test": test})
    for name, source in (("probe", train), ("test", test)):
        logger.info("%s %s", name, opening.data(source))
    audit = None if asked.clean is None else read_audit(asked.clean, test)
    marks = marks_of(opened, train, test)
    bad = Lenient(settings.max_bad_fraction)
    train, test = (check_records(opened.objective.augment, source, bad(source)) for source in (train, test))
    cache = cache_of(workdir, recipe) if asked.cached else Cache()
    kept: dict[tuple[str, str], suite.PerRecord] = {}
    keep = lambda row, probe, records: kept.update({(row, probe): records})  # noqa: E731
    results, failures = measured(opened, tuple(chosen), train, test, settings, cache, status, audit, keep)
    results = with_marks(results, marks, () if audit is None else audit.notes())
    if results["rows"]:
        results, failures = with_task(opened, tuple(chosen), test, settings, results, failures)
        if named is not None:
            note = named.note(str(asked.protocol))
            results = results | {"named": named.told(str(asked.protocol)), "notes": [*results["notes"], note]}
        if is_first():
            saved(results, failures, asked.out or workdir)
            suite.save_records(kept, asked.out or workdir)
    if not failures:
        return suite.table(results)
    if results["rows"]:
        tell(suite.table(results))
    raise suite.reason(results, failures)


@contextmanager
def telling(folder: Path, log: str = "eval.log") -> Iterator[Callable[[str], None]]:
    """What is told is shown, and kept in the `log`; the block is given what takes a line that is drawn in place of the last."""
    if not is_first():
        yield lambda line: None
        return
    with suppress(OSError):  # that results cannot be written is told when they are
        folder.mkdir(parents=True, exist_ok=True)
    with messages(folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="ssl-jax-")), name=log):
        yield lambda line: logger.info(line, extra={"progress": True})


def cache_of(workdir: Path, recipe: Recipe) -> Cache:
    """The features that a run keeps."""
    return Cache(Path(workdir) / FOLDER, int(recipe.evaluate.cache_gib * 2**30))


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
    opened: Opened,
    chosen: tuple[str, ...],
    train: Any,
    test: Any,
    settings: suite.Settings,
    cache: Cache,
    status: Callable[[str], None],
    audit: Audit | None,
    keep: suite.Keep,
) -> tuple[dict[str, Any], Failures]:
    """The table of `suite.evaluate`, and why parts of it are missing."""
    encoders = {name: (each, each.variables(opened.state)) for name, each in opened.objective.encoders().items()}
    trainer = partial(from_scratch, opened, train, settings, status)
    try:
        table = suite.evaluate(
            encoders, train, test, settings, trainer, opened.step, logger.info, opened.mesh, chosen,
            origin_of(opened), cache, status, audit, keep,
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
    """The results, with marks and notes under the table, and marks in each protocol: they go wherever a number goes."""
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
    why = refused(opened.objective, test, settings.label, settings.target)
    if why:
        logger.info("own task: not measured on the test records: %s", why)
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


def from_scratch(
    opened: Opened, train: Any, settings: suite.Settings, status: Callable[[str], None], encoder: Encoder
) -> Callable[..., Any]:
    """What trains an encoder of that kind on the labels of `train`."""
    tolerance = Lenient(settings.max_bad_fraction)
    classes = classes_of(train, settings.label, tolerance(train))
    heard = lambda title: Progress(title, "examples", logger.info, status)  # noqa: E731
    augment, section = opened.objective.augment, opened.recipe.data
    views = partial(cropped, augment=augment, place=section.crop, mode=section.resize)
    return SupervisedFit(encoder, augment, classes, settings.label, settings.target, tolerance, heard, views)


def as_in(recipe: Recipe, names: tuple[Entry, ...] | None) -> tuple[Entry, ...] | None:
    """Probes by name, with the options that the recipe gives those of its own."""
    own = {probe_name(entry): entry for entry in recipe.evaluate.probes}
    return None if names is None else tuple(own.get(name, name) if isinstance(name, str) else name for name in names)


def settings_of(opened: Opened, probes: tuple[Entry, ...] | None, allow: tuple[str, ...]) -> suite.Settings:
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
