"""What is planned: a recipe, the records it would see, and the step that training would run. No array is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh

from ssl_jax.data.bad import BadRecords
from ssl_jax.devices.mesh import AXES, axis_sizes, batch_sharding, check_batch
from ssl_jax.errors import UserError
from ssl_jax.recipe import Recipe, parse, plain
from ssl_jax.recipe.component import with_model_option
from ssl_jax.training.records import as_learned
from ssl_jax.training.run import batch_like, build, compiled, state_like
from ssl_jax.training.step import Setup, TrainState, init_state


@dataclass(frozen=True)
class Declared:
    """Stands for a source whose data is not here: how many records there are, and one of zeros."""

    count: int
    record: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return dict(self.record)


@dataclass(frozen=True)
class Problem:
    """A recipe with its setup, the batch and the state as shapes."""

    config: dict[str, Any]
    allow: tuple[str, ...]
    recipe: Recipe
    examples: int
    setup: Setup
    batch: dict[str, jax.ShapeDtypeStruct]
    declared: bool  # the data is not here, the recipe says what it is

    def state(self) -> TrainState:
        """Shapes of the state."""
        with jax.sharding.use_abstract_mesh(abstract_mesh(dict.fromkeys(AXES, 1))):
            return jax.eval_shape(partial(init_state, self.setup), self.batch)

    def changed(self, changes: Mapping[str, Any]) -> Problem:
        """The problem with some keys of the recipe set: `{"mesh.fsdp": 16}`; `model.x` is set in each model that has it."""
        config = deepcopy(self.config)
        for key, value in changes.items():
            *parents, last = key.split(".")
            if parents == ["model"]:
                config = with_model_option(config, last, value, self.allow)
                continue
            section = config
            for name in parents:
                section = section.setdefault(name, {})
            section[last] = value
        return problem(config, self.allow)


def problem(config: Mapping[str, Any], allow: tuple[str, ...] = ()) -> Problem:
    """The problem that a config (see `recipe.load`) poses; UserError where the recipe or its sizes are wrong."""
    recipe = parse(config, allow)
    source, declared = _source(recipe)
    setup = build(recipe, len(source))
    learned = as_learned(recipe, setup.objective.augment, source)
    batch = batch_like(learned, recipe.batch_size, BadRecords(1.0, None))
    return Problem(plain(config), tuple(allow), recipe, len(source), setup, batch, declared)


def mesh_sizes(recipe: Recipe, count: int) -> dict[str, int]:
    """Axes of the recipe's mesh on `count` devices; UserError where devices or batch do not divide."""
    mesh = recipe.mesh
    sizes = axis_sizes(count, mesh.data, mesh.fsdp, mesh.tensor)
    check_batch(recipe.batch_size, abstract_mesh(dict(zip(AXES, sizes, strict=True))), recipe.optimizer.accumulation)
    return dict(zip(AXES, sizes, strict=True))


def abstract_mesh(sizes: Mapping[str, int]) -> AbstractMesh:
    """A mesh without devices, to trace under."""
    return AbstractMesh(tuple(sizes[a] for a in AXES), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def lowered(posed: Problem, mesh: Mesh) -> Any:
    """The step that training would run on `mesh` (state donated, shardings pinned), lowered and not yet compiled."""
    with jax.set_mesh(mesh):
        like = state_like(posed.setup, posed.batch, mesh, posed.recipe.mesh.rules, posed.recipe.mesh.offload)
        rows = batch_sharding(mesh)
        batch = {k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=rows) for k, v in posed.batch.items()}
        return compiled(posed.setup, 1, like).lower(like, batch)


def _source(recipe: Recipe) -> tuple[Any, bool]:
    component, count = recipe.data.pretrain, recipe.data.examples
    try:
        return component.build(), False
    except UserError as missing:
        record = None if count is None else component.example()
        if record is None or count is None:
            raise UserError(
                f"{missing}\nTo plan without the data: data.examples (how many records there are) has to be set, and the "
                "source needs a method `example(**options)` that returns a record of zeros, as ImageFolder has"
            ) from missing
        return Declared(count, record), True
