"""Every probe on every encoder of a run and on its baselines: one table, and one JSON file for each probe."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from ssl_jax.errors import UserError
from ssl_jax.evaluate.baselines import Fit, encoded_split, random_split, raw_split, supervised_split
from ssl_jax.evaluate.features import Split
from ssl_jax.objectives.base import Encoder

Encoders = Mapping[str, tuple[Encoder, dict]]
PROBES = ("linear", "knn", "fewshot")
_BASELINES = {"random": "random init", "raw": "raw input", "supervised": "supervised"}


class Probe(Protocol):
    """A measurement of features. `ssl_jax/evaluate/probes/<name>.py` with a dataclass `Probe` is the probe `<name>`.

    Its fields that are also in `Settings` are set from there. `columns` are the columns of the table: `title`, the
    `value` and perhaps the `spread` by name in what `run` returns, and `unit` "percent" or "number".
    """

    columns: Any
    protocol: Any

    def run(self, split: Split) -> dict[str, Any]:
        """Named numbers (and what explains them), ready for JSON."""
        ...


@dataclass(frozen=True)
class Settings:
    """What to measure, and how: the recipe's `evaluate` section.

    `supervised_examples` is the length of the supervised baseline's training in examples, `supervised_few_examples` that of
    each of its trainings on few labels (None: the same). `target` is the field that `regression` predicts. `seed` fixes
    held-out slices, label draws and baselines. `workers` rows of the table are measured at a time, each with its features in
    memory: more than one is for small data on several CPU cores in one process.
    """

    probes: tuple[str, ...] = PROBES
    baselines: tuple[str, ...] = tuple(_BASELINES)
    shots: tuple[int, ...] = (10, 100)
    draws: int = 3
    seed: int = 0
    workers: int = 1
    supervised_examples: int = 100_000
    supervised_few_examples: int | None = None
    label: str = "label"
    target: str | None = None
    batch_size: int = 256


def evaluate(
    encoders: Encoders,
    train: Any,
    test: Any,
    settings: Settings = Settings(),
    fit: Fit | None = None,
    step: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """Run the probes on the frozen features of named encoders and on the baselines of the first of them.

    Args:
      encoders: name -> (encoder, its variables), e.g. `{"teacher": ...}`.
      train: labelled source that probes learn from and choose on.
      test: labelled source that is scored once.
      settings: probes, baselines, seeds.
      fit: trains the supervised baseline: `fit(source, examples, seed) -> (encoder, variables)`. Without it there is none.
      step: the training step of the encoders, for the record.
      say: told what is about to happen.
      mesh: where the variables of `encoders` lie, if on several devices; baselines are made on one.

    Returns:
      Plain data: `protocol`, `columns`, `rows` (row -> probe -> what the probe returned) and what identifies the data.

    Raises:
      UserError: unknown probes or baselines, unlabelled or wrongly labelled data, too few labels, features not finite.
    """
    probes = {name: _probe(name, settings) for name in dict.fromkeys((*settings.probes, "health"))}
    splits = _rows(encoders, train, test, settings, fit, mesh)

    def measured(name: str) -> dict[str, Any]:
        say(f"evaluating: {name}")
        features = splits[name]()  # one set of features in memory for each worker
        return {probe: instrument.run(features) for probe, instrument in probes.items()}

    rows = _each(measured, list(splits), settings.workers)
    return {
        "encoders": list(encoders),
        "step": step,
        "seed": settings.seed,
        "train": {"records": len(train), "fingerprint": train.fingerprint()},
        "test": {"records": len(test), "fingerprint": test.fingerprint()},
        "protocol": {name: probe.protocol for name, probe in probes.items()},
        "columns": [column | {"probe": name} for name, probe in probes.items() for column in probe.columns],
        "rows": rows,
    }


def row_of(encoder: str) -> str:
    """The name of an encoder's row."""
    return f"pretrained ({encoder})"


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


def save(results: Mapping[str, Any], directory: str | Path) -> list[Path]:
    """Write `<directory>/eval/<probe>.json` for each probe, each whole or not at all; returns their paths."""
    folder = Path(directory) / "eval"
    folder.mkdir(parents=True, exist_ok=True)
    shared = {k: results[k] for k in ("encoders", "step", "seed", "train", "test")}
    paths = []
    for probe, protocol in results["protocol"].items():
        content = {
            "probe": probe,
            "protocol": protocol,
            **shared,
            "columns": [c for c in results["columns"] if c["probe"] == probe],
            "rows": {name: row[probe] for name, row in results["rows"].items() if probe in row},
        }
        path = folder / f"{probe}.json"
        unfinished = path.with_suffix(".json.tmp")
        unfinished.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
        paths.append(path)
    return paths


def _rows(
    encoders: Encoders, train: Any, test: Any, settings: Settings, fit: Fit | None, mesh: Mesh | None
) -> dict[str, Callable[[], Split]]:
    """Rows of the table in order, each with what makes its features."""
    classes = len(getattr(train, "classes", ())) or None
    data = {"train": train, "test": test, "classes": classes}
    data |= {"batch_size": settings.batch_size, "label": settings.label, "target": settings.target}
    rows = {
        row_of(name): partial(_on, mesh, partial(encoded_split, encoder, variables, **data))
        for name, (encoder, variables) in encoders.items()
    }
    encoder, _ = next(iter(encoders.values()))
    few = settings.supervised_few_examples or settings.supervised_examples
    known = {
        "random": partial(random_split, encoder, settings.seed + 1, **data),
        "raw": partial(raw_split, encoder, **data),
        "supervised": partial(supervised_split, fit, settings.supervised_examples, few, settings.seed, **data),
    }
    for name in settings.baselines:
        if name not in known:
            raise UserError(f"evaluate.baselines: {name!r} is unknown; use any of {', '.join(known)}")
    return rows | {
        title: known[name]
        for name, title in _BASELINES.items()
        if name in settings.baselines and not (name == "supervised" and fit is None)
    }


def _each(measured: Callable[[str], dict[str, Any]], names: list[str], workers: int) -> dict[str, dict[str, Any]]:
    """`measured` of every name, `workers` at a time; the last name, which trains an encoder, is begun first."""
    if workers == 1:  # in this thread, where the caller's mesh and precision hold
        return {name: measured(name) for name in names}
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = {name: pool.submit(measured, name) for name in (names[-1], *names[:-1])}
        return {name: waiting[name].result() for name in names}
    finally:
        pool.shutdown(cancel_futures=True)  # after an error the rows that were not begun are left out


def _on(mesh: Mesh | None, split: Callable[[], Split]) -> Split:
    with nullcontext() if mesh is None else jax.set_mesh(mesh):
        return split()


def _probe(name: str, settings: Settings) -> Probe:
    """The probe of that name, with its share of the settings."""
    module = f"ssl_jax.evaluate.probes.{name}"
    known = name.isidentifier() and importlib.util.find_spec(module) is not None
    kind = getattr(importlib.import_module(module), "Probe", None) if known else None
    if kind is None:
        raise UserError(f"evaluate.probes: {name!r} is unknown; use any of {', '.join(PROBES)}")
    shared = {f.name for f in fields(kind)} & {f.name for f in fields(Settings)}
    return kind(**{key: getattr(settings, key) for key in shared})


def _cell(result: Mapping[str, Any] | None, column: Mapping[str, str]) -> str:
    if result is None:
        return "-"
    value = result[column["value"]]
    if column["unit"] != "percent":
        return f"{value:.3g}"
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
    """Warnings of the probes, one line each."""
    return [
        f"Note: {name}, {probe}: {result['note']}."
        for name, row in results["rows"].items()
        for probe, result in row.items()
        if result.get("note")
    ]
