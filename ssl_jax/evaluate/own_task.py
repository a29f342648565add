"""How well a pretext method does the task that it was trained on, on records that it has not seen.

No measure of the representation: a task can be solved by what is useless elsewhere. It says whether the training worked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.pipeline import BadRecords, examples
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import hidden_fields, unlabelled
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Batch, Column, Keys, Objective, Progress, State, example_keys, step_key

PROBE, TITLE = "own_task", "own task"
AROUND = ("chance", "n_test")  # what helps to read the measures, and is no column


def own_task(
    objective: Objective,
    state: State,
    source: Any,
    seed: int = 0,
    batch_size: int = 256,
    label: str = "label",
    target: str | None = None,
    bad: BadRecords | None = None,
) -> dict[str, float]:
    """Metrics of `objective.validate` over all records of `source`, each counted once, and their number `n_test`.

    Empty for an objective that has none. Views are the objective's `held_out_views`, from `seed`; labels are shown to those only
    that learned from them. Batches are of nearly equal size, at most `batch_size`: where rows of a batch meet (BatchNorm,
    negatives), a small rest would be another task. In the place of records that cannot be read, which `bad` counts, others are
    seen twice.
    """
    bad = BadRecords(0.0) if bad is None else bad
    hidden = _hidden(objective, source, label, target)

    @jax.jit
    def measured(batch: Batch, ids: Array) -> dict[str, Mean]:
        keys = Keys(example_keys(seed, ids * 0, ids), step_key(seed, 0))
        views = objective.held_out_views(keys, batch, Progress(0, 1))
        return objective.validate(state.params, state.extra, views, step_key(seed, 1))

    sums: dict[str, Mean] = {}
    for ids in _parts(len(source), batch_size):
        batch = examples(source, ids, np.zeros_like(ids), bad)
        found = measured(unlabelled(batch, *hidden), ids.astype(np.int32))
        if not found:
            return {}
        sums = found if not sums else {k: Mean(*(a + b for a, b in zip(sums[k], found[k], strict=True))) for k in sums}
    return {name: float(mean.value) for name, mean in sums.items()} | {"n_test": len(source) - bad.count}


def missing_fields(
    objective: Objective, wanted: Iterable[str], source: Any, label: str = "label", target: str | None = None
) -> list[str]:
    """The fields that pretraining had, that the records of `source` lack, and without which there are no views."""
    hidden = _hidden(objective, source, label, target)
    missing = sorted(set(wanted) - set(BadRecords(1.0).read(source, 0)[1]) - set(hidden))
    return missing if missing and not _has_views(objective, source, hidden) else []


def refused(objective: Objective, source: Any, label: str = "label", target: str | None = None) -> str:
    """What the objective says where it makes no views of records like those of `source`, clips that are too short; else ""."""
    try:
        _traced_views(objective, source, _hidden(objective, source, label, target))
    except UserError as error:
        return str(error)
    return ""


def _hidden(objective: Objective, source: Any, label: str, target: str | None) -> tuple[str, ...]:
    """The fields that the objective may not see; the empty name, so that there is always one."""
    hidden = hidden_fields(source, label, target)
    return ("", *(name for name in hidden if name and name not in objective.labels))


def _has_views(objective: Objective, source: Any, hidden: Iterable[str]) -> bool:
    """Whether the objective makes views of such records."""
    try:
        _traced_views(objective, source, hidden)
    except (KeyError, UserError):
        return False
    return True


def _traced_views(objective: Objective, source: Any, hidden: Iterable[str]) -> None:
    """Trace the objective's views of a record without the `hidden` fields. Computes nothing."""
    ids = np.zeros(1, np.int32)
    batch = unlabelled(examples(source, ids, ids, BadRecords(1.0)), *hidden)
    keys = Keys(example_keys(0, jnp.asarray(ids), jnp.asarray(ids)), step_key(0, 0))
    jax.eval_shape(lambda records: objective.held_out_views(keys, records, Progress(0, 1)), batch)


def columns_of(found: Mapping[str, float], declared: Sequence[Column] = ()) -> tuple[Column, ...]:
    """How the task's measures are shown: as the objective has `declared`, or else each under its name."""
    return tuple(column for column in declared if column["value"] in found) or tuple(
        _column(name) for name in found if name not in AROUND
    )


def with_own_task(
    results: dict[str, Any], rows: str | Sequence[str], found: Mapping[str, float], declared: Sequence[Column] = ()
) -> dict[str, Any]:
    """`results` of `suite.evaluate` with the task's columns in one row, or a few; the others have no such task."""
    if not found:
        return results
    rows = [rows] if isinstance(rows, str) else [row for row in rows if row in results["rows"]]
    columns = columns_of(found, declared)
    names = ", ".join(column["value"] for column in columns)
    norm = "BatchNorm of a pretext task on the statistics of a batch"
    protocol = f"own task: {names} of what was trained, on the test records; {norm}"
    return results | {
        "protocol": results["protocol"] | {PROBE: protocol},
        "columns": [*results["columns"], *(dict(column) | {"probe": PROBE} for column in columns)],
        "rows": results["rows"] | {row: results["rows"][row] | {PROBE: dict(found)} for row in rows},
    }


def _column(name: str) -> Column:
    percent = name.startswith(("accuracy", "recall"))
    title = TITLE if name == "accuracy" else f"{TITLE}: {name}"
    return {"title": title, "value": name, "unit": "percent" if percent else "number"}


def _parts(total: int, most: int) -> Iterator[np.ndarray]:
    """The ids 0..total-1 in parts of nearly equal size, at most `most`: two sizes, two compiled programs."""
    yield from np.array_split(np.arange(total), -(-total // most))
