"""What an objective takes from data before the first step: codebooks and the like."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.pipeline import examples
from ssl_jax.data.sources.arrays import spread
from ssl_jax.objectives.base import Batch, Objective, State


def fitted_to_records(objective: Objective, source: Any, bad: BadRecords, state: State) -> State:
    """The state as the objective makes it of `fit_records` records, which lie evenly in `source`; itself where it wants none.

    All processes read the same records and come to the same numbers. What changed is where it was.
    """
    if not objective.fit_records:
        return state
    new = objective.fitted(state, records(source, objective.fit_records, bad))
    return jax.tree.map(lambda x, before: x if x is before else _placed(x, before), new, state)


def records(source: Any, most: int, bad: BadRecords) -> Batch:
    """At most so many records of a source, evenly spread."""
    ids = spread(len(source), most)
    found = examples(source, ids, np.zeros_like(ids), bad)
    return {name: x for name, x in found.items() if not name.startswith("_")}


def _placed(x: Any, before: Array) -> Array:
    value = np.asarray(x, before.dtype)
    return jax.make_array_from_callback(value.shape, before.sharding, lambda index: value[index])
