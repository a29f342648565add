"""How well a pretext method does the task that it was trained on, on images that it has not seen.

No measure of the representation: a task can be solved by what is useless elsewhere. It says whether the training worked.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array

from ssl_jax.data.pipeline import once
from ssl_jax.evaluate.features import unlabelled
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Batch, Keys, Objective, Progress, State, example_keys, step_key

PROBE = "own_task"
COLUMN = {"title": "own task", "value": "accuracy", "unit": "percent", "probe": PROBE}
PROTOCOL = "own task: accuracy of the pretext task on the test images, BatchNorm on the statistics of a batch"


def own_task(objective: Objective, state: State, source: Any, seed: int = 0, batch_size: int = 256) -> dict[str, float]:
    """Metrics of `objective.validate` on the records of `source` that fill batches, and their number `n_test`.

    Empty for an objective that has none. Views are drawn as in training, from `seed`.
    """
    batch_size = min(batch_size, len(source))
    sums: dict[str, Mean] = {}
    count = 0

    @jax.jit
    def measured(batch: Batch, ids: Array) -> dict[str, Mean]:
        keys = Keys(example_keys(seed, ids * 0, ids), step_key(seed, 0))
        views = objective.views(keys, batch, Progress(0, 1))
        return objective.validate(state.params, state.extra, views, step_key(seed, 1))

    for batch, valid in once(source, batch_size):
        if not np.all(valid):
            continue
        found = measured(unlabelled(batch), np.arange(count, count + batch_size))
        if not found:
            return {}
        sums = found if not sums else {k: Mean(*(a + b for a, b in zip(sums[k], found[k], strict=True))) for k in sums}
        count += batch_size
    return {name: float(mean.value) for name, mean in sums.items()} | {"n_test": count}


def with_own_task(results: dict[str, Any], row: str, found: dict[str, float]) -> dict[str, Any]:
    """`results` of `suite.evaluate` with the task's column in one row; the others have no such task."""
    if not found:
        return results
    return results | {
        "protocol": results["protocol"] | {PROBE: PROTOCOL},
        "columns": [*results["columns"], COLUMN],
        "rows": results["rows"] | {row: results["rows"][row] | {PROBE: found}},
    }
