"""What a run's records look like: written beside every checkpoint, so that a run can be opened where its data is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.cropped import cropped
from ssl_jax.data.pipeline import BadRecords, examples
from ssl_jax.recipe import Recipe

Shapes = dict[str, jax.ShapeDtypeStruct]
COUNTERS: Shapes = dict.fromkeys(
    ("_id", "_epoch"), jax.ShapeDtypeStruct((), np.int32)
)  # what the pipeline adds to each


@dataclass(frozen=True)
class Records:
    """How many pretraining records there are, and shape and type of each field of one."""

    count: int
    fields: Shapes

    def batch(self, size: int) -> Shapes:
        """Shapes and types of a batch of `size` of them, as `pipeline.batches` delivers it."""
        one = self.fields | COUNTERS
        return {name: jax.ShapeDtypeStruct((size, *x.shape), x.dtype) for name, x in one.items()}

    def to_meta(self) -> dict[str, Any]:
        """As JSON."""
        fields = {name: {"shape": list(x.shape), "dtype": str(x.dtype)} for name, x in self.fields.items()}
        return {"count": self.count, "fields": fields}


def records_of(source: Any, bad: BadRecords) -> Records:
    """Those of a source, by its first record that can be read, as the pipeline delivers it."""
    first = np.zeros(1, np.int64)
    fields = {name: x for name, x in examples(source, first, first, bad).items() if name not in COUNTERS}
    return Records(len(source), {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in fields.items()})


def as_learned(recipe: Recipe, augment: Any, source: Any) -> Any:
    """A source as this recipe learns from it: its pictures whole or as crops, by `data.crop`."""
    return cropped(source, augment, recipe.data.crop, recipe.data.resize, recipe.seed)


def from_meta(meta: Mapping[str, Any]) -> Records:
    """Inverse of `Records.to_meta`."""
    shape = lambda x: jax.ShapeDtypeStruct(tuple(x["shape"]), jnp.dtype(x["dtype"]))  # noqa: E731
    return Records(meta["count"], {name: shape(x) for name, x in meta["fields"].items()})
