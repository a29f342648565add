"""Every probe on every encoder of a run and on its baselines: one table, and one JSON file for each probe."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jax.sharding import Mesh
from threadpoolctl import threadpool_limits

from ssl_jax.data.pipeline import BadRecords
from ssl_jax.errors import UserError
from ssl_jax.evaluate.baselines import Lenient
from ssl_jax.evaluate.cache import Cache
from ssl_jax.evaluate.classes import labels_of, numbered_alike
from ssl_jax.evaluate.clean import Audit, beside
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.instruments import (
    Probe,
    asks_of,
    encoders_of,
    fields_of,
    needs_of,
    probes_of,
    refusal,
    unmeasurable,
)
from ssl_jax.evaluate.intervals import interval_of_mean
from ssl_jax.evaluate.progress import Progress
from ssl_jax.evaluate.reader import Reader
from ssl_jax.evaluate.readings import OWN
from ssl_jax.evaluate.rows import BASELINES, Encoders, Group, Origin, Table, Trainer
from ssl_jax.evaluate.rows import row_of as row_of
from ssl_jax.evaluate.shots import feasible
from ssl_jax.recipe.probes import PROBES, Entry, probe_name
from ssl_jax.recipe.values import fits, read_json
from ssl_jax.rundir.log import rounded
from ssl_jax.rundir.writing import own_folder, replace_file, replacing

_MEASURED_ON = ("step", "seed", "train", "test", "label", "target")  # rows of one table have these in common

T = TypeVar("T")
PerRecord = dict[str, np.ndarray]  # arrays with a row for each test record
Keep = Callable[[str, str, PerRecord], None]


@dataclass(frozen=True)
class Settings:
    """What to measure, and how: the recipe's `evaluate` section.

    `supervised_examples` is the length of the supervised baseline's training in examples, `supervised_few_examples` that of
    each of its trainings on few labels (None: the same). `label` is the field that probes predict, `target` the one that
    `regression` does. `seed` fixes held-out slices, label draws and baselines. `workers` rows of the table are measured at a
    time, each with its features in memory: more than one is for small data on several CPU cores in one process. Of each source
    `max_bad_fraction` may be unreadable: such records are left out. Probes from outside `ssl_jax` are imported only from the
    packages in `allow`.
    """

    probes: tuple[Entry, ...] = PROBES
    baselines: tuple[str, ...] = tuple(BASELINES)
    shots: tuple[int, ...] = (10, 100)
    draws: int = 3
    seed: int = 0
    workers: int = 1
    supervised_examples: int = 100_000
    supervised_few_examples: int | None = None
    label: str = "label"
    target: str | None = None
    batch_size: int = 256
    max_bad_fraction: float = 0.001
    allow: tuple[str, ...] = ()


class Incomplete(UserError):
    """Some of the table could not be measured. `results` is what could, `failures` (row, or row and probe) -> why not."""

    def __init__(self, results: dict[str, Any], failures: Mapping[str, Exception]) -> None:
        self.results, self.failures = results, failures
        told: dict[str, list[str]] = {}
        for where, error in failures.items():
            told.setdefault(_told(error), []).append(where)
        super().__init__("\n".join(f"{'; '.join(where)}: {reason}" for reason, where in told.items()))


def reason(results: dict[str, Any], failures: Mapping[str, Exception]) -> Exception:
    """What to raise for them: all that the user can fix in one message, unless one is a fault of the program."""
    faults = (error for error in failures.values() if not isinstance(error, UserError))
    return next(faults, Incomplete(results, failures))


def evaluate(
    encoders: Encoders,
    train: Any,
    test: Any,
    settings: Settings = Settings(),
    trainer: Trainer | None = None,
    step: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    mesh: Mesh | None = None,
    chosen: Sequence[str] | None = None,
    origin: Origin | None = None,
    cache: Cache | None = None,
    status: Callable[[str], None] = lambda line: None,
    audit: Audit | None = None,
    keep: Keep = lambda row, probe, records: None,
) -> dict[str, Any]:
    """Run the probes on the frozen features of named encoders and on their baselines.

    Encoders of the same module, inputs and method (student and teacher) share their baselines; where an objective has several
    kinds, a baseline is named by the first encoder of its kind.

    Args:
      encoders: name -> (encoder, its variables): all that the objective has, e.g. `{"student": ..., "teacher": ...}`.
      train: labelled source that probes learn from and choose on.
      test: labelled source that is scored once.
      settings: probes, baselines, seeds.
      trainer: makes the supervised baseline of an encoder: `trainer(encoder)(source, examples, seed) -> (encoder,
        variables)`. Without it there is none.
      step: the training step of the encoders, for the record.
      say: told what is about to happen, and what was done.
      mesh: where the variables of `encoders` lie, if on several devices; all rows are made there.
      chosen: names of the encoders that get a row; None for all.
      origin: what features depend on beside the data; None: they are made anew.
      cache: where features are kept.
      status: told how far it is, every few seconds.
      audit: which test records are in the pretraining data; probes are run without them as well.
      keep: given the row, the probe and what it has of each test record.

    Returns:
      Plain data: `protocol`, `columns`, `rows` (row -> probe -> what the probe returned) and what identifies the data.

    Raises:
      UserError: unknown probes, baselines or encoders, before anything is computed.
      Incomplete: after all else was measured: what failed (unlabelled or wrongly labelled data, too few labels, features that
        are not finite), and the results without it.
    """
    chosen = tuple(encoders) if chosen is None else tuple(chosen)
    test = numbered_alike(train, test, settings.label)
    probes = _probes(settings)
    unasked = frozenset({"health"} - {*map(probe_name, settings.probes)})
    compared = _each_once([encoders_of(probe)] for probe in probes.values() if encoders_of(probe))
    _check_labels(probes, train, test, settings.label)
    probes, notes = feasible(probes, train, settings.label, settings.max_bad_fraction)
    probes, refused = _measurable(probes, train, test)
    probes = beside(probes, audit)
    for note in notes:
        say(note)
    reader = _reader(probes, settings, cache or Cache(), mesh, lambda title: Progress(title, "records", say, status))
    asked = _each_once(map(asks_of, probes.values()))
    rows_of = Table(encoders, chosen, compared, train, test, settings, trainer, reader, origin, asked)
    # Nothing to set beside: what else is wrong is found, without long work.
    alone = bool(refused) and not set(probes) - {"health"}

    def measured(group: Group) -> Measured:
        say(f"evaluating: {', '.join(group.rows)}")
        return _measure(group, probes, unasked, say, keep)  # one group's features in memory for each worker

    found = _each(measured, [rows_of.pretrained()] if alone else rows_of.groups(), settings.workers)
    results = {
        "encoders": list(chosen),
        "kinds": {} if alone else {name: rows_of.kinds[name] for name in chosen},
        "step": step,
        **_measured_on(settings, train, test),
        **_rows(found, probes),
        "notes": list(notes),
    }
    failures = refused | {where: error for part in found for where, error in part.failures.items()}
    if failures:
        raise Incomplete(results, failures)
    return results


def _probes(settings: Settings) -> dict[str, Probe]:
    """The probes that are asked for, and the measures of collapse."""
    shared = {key: value for key, value in asdict(settings).items() if key not in ("probes", "allow")}
    return probes_of((*settings.probes, "health"), shared, settings.allow)


def _reader(
    probes: Mapping[str, Probe], settings: Settings, cache: Cache, mesh: Mesh | None, heard: Callable[[str], Progress]
) -> Reader:
    """What reads of the data all that the probes need."""
    return Reader(
        settings.label, settings.target, settings.batch_size,
        fields=_each_once(map(fields_of, probes.values())),
        readings=_each_once(map(needs_of, probes.values())),
        tolerance=Lenient(settings.max_bad_fraction), cache=cache, heard=heard, mesh=mesh,
    )  # fmt: skip


def _each_once(lists: Iterable[Iterable[T]]) -> tuple[T, ...]:
    """All that is in them, once each, in their order."""
    return tuple(dict.fromkeys(chain.from_iterable(lists)))


def _measured_on(settings: Settings, train: Any, test: Any) -> dict[str, Any]:
    """What identifies the data."""
    return {
        "seed": settings.seed,
        "label": settings.label,
        "target": settings.target,
        "train": {"records": len(train), "fingerprint": train.fingerprint()},
        "test": {"records": len(test), "fingerprint": test.fingerprint()},
    }


def _rows(found: Sequence[Measured], probes: Mapping[str, Probe]) -> dict[str, Any]:
    """The table: its rows, and protocol and columns of the probes that measured any."""
    rows = {row: results for part in found for row, results in part.rows.items()}
    worked = {name: probe for name, probe in probes.items() if any(name in results for results in rows.values())}
    return {
        "protocol": {name: probe.protocol for name, probe in worked.items()},
        "columns": [dict(column) | {"probe": name} for name, probe in worked.items() for column in probe.columns],
        "rows": rows,
    }


def table(results: Mapping[str, Any]) -> str:
    """The results for a terminal: a row for each encoder and baseline, and under it how it was measured."""
    columns = results["columns"]
    lines = [["", *(c["title"] for c in columns)]]
    for name, row in results["rows"].items():
        lines.append([name, *(_cell(row.get(c["probe"]), c) for c in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    drawn = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in lines
    ]
    return "\n".join([*drawn, "", _protocol(results), *_notes(results)])


def save(
    results: Mapping[str, Any], directory: str | Path, say: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """Write `<directory>/eval/<probe>.json` for each probe, each whole or not at all; returns their paths.

    Rows of other encoders that are there stay if they were measured on the same step, seed and data by the same protocol;
    otherwise they go, and `say` is told.
    """
    folder = own_folder(Path(directory) / "eval")
    paths = []
    for probe, protocol in results["protocol"].items():
        path = folder / f"{probe}.json"
        content = {
            "probe": probe,
            "protocol": protocol,
            "named": results.get("named"),
            **{key: results.get(key) for key in ("encoders", "kinds", *_MEASURED_ON)},
            "columns": [c for c in results["columns"] if c["probe"] == probe],
            "rows": {name: row[probe] for name, row in results["rows"].items() if probe in row},
        }
        replace_file(path, json.dumps(merged(_read(path), content, say), indent=1, allow_nan=False) + "\n")
        paths.append(path)
    return paths


def save_records(kept: Mapping[tuple[str, str], PerRecord], directory: str | Path) -> None:
    """Write what was measured of each test record, by row and probe: `<row>/<name>` in `<directory>/eval/records/<probe>.npz`."""
    for probe in dict.fromkeys(probe for _, probe in kept):
        arrays: dict[str, Any] = {
            f"{row}/{name}": x for (row, of), records in kept.items() if of == probe for name, x in records.items()
        }
        with replacing(own_folder(own_folder(Path(directory) / "eval") / "records") / f"{probe}.npz") as file:
            np.savez(file, **arrays)


def merged(old: Mapping[str, Any], new: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """The content `new` of a probe's file, with the rows of `old` that are not measured anew and can be compared with it."""
    kept = {row: result for row, result in old.get("rows", {}).items() if row not in new["rows"]}
    if not kept:
        return dict(new)
    before, after = {"label": "label"} | dict(old), json.loads(json.dumps(new))
    changed = [key for key in (*_MEASURED_ON, "protocol", "columns") if before.get(key) != after[key]]
    if changed:
        say(
            f"eval/{new['probe']}.json: {', '.join(kept)} of step {old.get('step')} go, since {', '.join(changed)} differ"
        )
        return dict(new)
    rows = sorted((kept | new["rows"]).items(), key=lambda row: not row[0].startswith("pretrained"))
    encoders = list(dict.fromkeys((*old["encoders"], *new["encoders"])))
    kinds = dict(old.get("kinds") or {}) | (new.get("kinds") or {})
    return {**new, "encoders": encoders, "kinds": kinds, "rows": dict(rows)}


class Measured(NamedTuple):
    """Results by row and probe, and why others are missing."""

    rows: dict[str, dict[str, Any]]
    failures: dict[str, Exception]


def _measurable(probes: Mapping[str, Probe], train: Any, test: Any) -> tuple[dict[str, Probe], dict[str, Exception]]:
    """The probes that these sources suffice for, and why the others cannot measure."""
    reasons = {name: unmeasurable(probe, train, test) for name, probe in probes.items()}
    refused: dict[str, Exception] = {name: UserError(reason) for name, reason in reasons.items() if reason}
    return {name: probe for name, probe in probes.items() if name not in refused}, refused


def _measure(
    group: Group, probes: Mapping[str, Probe], unasked: Collection[str], say: Callable[[str], None], keep: Keep
) -> Measured:
    """Every probe on every row of a group; those that are `unasked` where they can. What fails leaves the rest alone."""
    done = Measured({}, {})
    try:
        splits = group.make()
    except Exception as error:  # told at the end, beside what was measured
        return Measured({}, dict.fromkeys(group.rows, error))
    for row, towers in group.rows.items():
        try:
            split = splits[row]()
        except Exception as error:
            done.failures[row] = error
            continue
        for name, probe in probes.items():
            spared = name in unasked and refusal(probe, split)
            if encoders_of(probe) == towers and _has_readings(probe, split) and not spared:
                started = time.monotonic()
                _run(done, row, name, probe, split, keep)
                ended = "failed" if f"{row}, {name}" in done.failures else "done"
                say(f"{row}, {name}: {ended} in {time.monotonic() - started:.1f} s")
    return done


def _has_readings(probe: Probe, split: Split) -> bool:
    """Whether the encoder gives anything of what the probe asks for; its own features it always gives."""
    needs, own_tokens = needs_of(probe), getattr(probe, "tokens", False) and split.train.x.ndim == 3
    return not needs or own_tokens or any(reading == OWN or reading in split.readings for reading in needs)


def _run(done: Measured, row: str, name: str, probe: Probe, split: Split, keep: Keep) -> None:
    try:
        refused = refusal(probe, split)
        if refused:
            raise UserError(refused)
        result, records = parted(probe.run(split), split.test.ids, getattr(probe, "seed", 0))
        done.rows.setdefault(row, {})[name] = result
        if records:
            keep(row, name, records)
    except Exception as error:
        done.failures[f"{row}, {name}"] = error


def parted(result: dict[str, Any], ids: np.ndarray, seed: int) -> tuple[dict[str, Any], PerRecord]:
    """A result without its `records`, with the interval of the mean of `correct` where it has none; and these, with the test
    records' `ids`."""
    records = {name: np.asarray(values) for name, values in result.get("records", {}).items()}
    plain = {key: value for key, value in result.items() if key != "records"}
    if "correct" in records and "interval" not in result:
        plain["interval"] = interval_of_mean(records["correct"], seed)
    return plain, {"ids": ids, **records} if records else {}


def _each(measured: Callable[[Group], Measured], groups: list[Group], workers: int) -> list[Measured]:
    """`measured` of every group, `workers` at a time; the last, which trains an encoder, is begun first."""
    if workers == 1:  # in this thread, where the caller's mesh and precision hold
        first = measured(groups[0])
        # Without one row of it the encoders diverged, or the data is wrong: baselines would be long work for nothing.
        return [first, *map(measured, groups[1:])] if first.rows else [first]
    pool = ThreadPoolExecutor(workers)
    # Each worker has its share of the cores: threads of BLAS that wait for one spin.
    share = max(1, len(os.sched_getaffinity(0)) // workers)
    try:
        with threadpool_limits(share, user_api="blas"):
            waiting = {i: pool.submit(measured, groups[i]) for i in (len(groups) - 1, *range(len(groups) - 1))}
            return [waiting[i].result() for i in range(len(groups))]
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C the rows that were not begun are left out


def _check_labels(probes: Mapping[str, Probe], train: Any, test: Any, label: str) -> None:
    """UserError where no probe but health could do anything without the labels that are not there."""
    if any(not getattr(probe, "labelled", True) for name, probe in probes.items() if name != "health"):
        return
    for name, source in (("probe", train), ("test", test)):
        record = BadRecords(1.0).read(source, 0)[1]
        if label in record and np.ndim(record[label]) == 0 and record[label] == -1:
            labels = labels_of(source, label, BadRecords(1.0))
            if labels is None or np.all(labels == -1):
                raise UserError(
                    f"the {name} split has no labels: all are -1 in the field {label!r}; name a labelled source in data.{name}"
                )
        if label not in record:
            raise UserError(
                f"the {name} split has no labels: its records have {', '.join(sorted(record))}, and no {label!r}; name a "
                f"labelled source in data.{name}, and its field in evaluate.label"
            )


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _read(path: Path) -> dict[str, Any]:
    """What is in a file of results; {} if there is none, or what is there is no such thing."""
    try:
        found = read_json(path)
    except UserError:
        return {}
    return found if fits(found, {"rows": {str: {str: object}}, "encoders": [str]}) else {}


def _cell(result: Mapping[str, Any] | None, column: Mapping[str, str]) -> str:
    if result is None:
        return "-"
    value = result[column["value"]]
    if column["unit"] != "percent":
        return rounded(math.exp(value) if column["unit"] == "exp" else value)
    spread = f" ± {100 * result[column['spread']]:.1f}" if "spread" in column else ""
    return f"{100 * value:.1f}{spread}"


def _protocol(results: Mapping[str, Any]) -> str:
    step = "" if results["step"] is None else f" at step {results['step']}"
    parts = [
        f"Test accuracy in % on {results['test']['records']} records after learning from {results['train']['records']}"
        f"{_chance(results)}, frozen features{step}, seed {results['seed']}",
        *results["protocol"].values(),
    ]
    return "; ".join(parts) + "."


def _chance(results: Mapping[str, Any]) -> str:
    for row in results["rows"].values():
        for result in row.values():
            if "chance" in result:
                return f" (chance {100 * result['chance']:.1f})"
    return ""


def _notes(results: Mapping[str, Any]) -> list[str]:
    """Warnings of the table and its probes, one line each."""
    return [f"Note: {note}." for note in results.get("notes", ())] + [
        f"Note: {name}, {probe}: {result['note']}."
        for name, row in results["rows"].items()
        for probe, result in row.items()
        if result.get("note")
    ]
