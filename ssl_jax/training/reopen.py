"""From a run directory back to what was trained, on the devices that are here: the one way of all commands that read a run.

The pretraining data is not needed: what its records look like stands beside every checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.pipeline import BadRecords
from ssl_jax.devices.mesh import make_mesh
from ssl_jax.objectives.base import Objective, State
from ssl_jax.recipe import Recipe, parse
from ssl_jax.recipe.loading import overridden
from ssl_jax.recipe.values import read_config
from ssl_jax.rundir.workdir import existing
from ssl_jax.training.ownership import refuse_another_count, refuse_foreign
from ssl_jax.training.phases import of_checkpoint
from ssl_jax.training.records import Records, from_meta, records_of
from ssl_jax.training.run import build, state_like
from ssl_jax.training.step import Setup, TrainState


@dataclass(frozen=True)
class Opened:
    """A run as a checkpoint left it: `state` (parameters and extra state) lies on `mesh`, as after training step `step`."""

    workdir: Path
    recipe: Recipe
    setup: Setup
    state: State
    step: int
    records: Records
    mesh: Mesh
    digest: str = ""  # of the checkpoint
    data: str = ""  # the fingerprint of what it was trained on, "" where the checkpoint does not say

    @property
    def objective(self) -> Objective:
        """What was trained."""
        return self.setup.objective


def open_run(workdir: Path, step: int | None = None, allow: tuple[str, ...] = ()) -> Opened:
    """The run in `workdir` at the checkpoint of `step` (default: the newest), on `mesh_here`.

    `allow` are the packages besides `ssl_jax` that its recipe may use.
    Raises UserError for no run, no such checkpoint, one that is damaged, and a recipe that does not fit it.
    """
    return reopened(workdir, recipe_of(workdir, allow), step)


def reopened(workdir: Path, recipe: Recipe, step: int | None = None) -> Opened:
    """As `open_run`, where the recipe of the run was read already. Of a run with phases, by the recipe of the checkpoint's."""
    mesh = mesh_here(recipe)
    with closing(Checkpoints(Path(workdir) / "checkpoints", read_only=True)) as checkpoints, jax.set_mesh(mesh):
        step = checkpoints.step_or_newest(step)
        meta = checkpoints.meta(step)
        refuse_foreign(Path(workdir), step, meta)
        records = from_meta(meta["records"]) if "records" in meta else _records_here(recipe)
        recipe, origin = of_checkpoint(recipe, meta)
        setup, like = shaped(recipe, records, mesh, origin)
        found = checkpoints.part({"step": like.step, "params": like.params, "extra": like.extra}, step)
        counted = int(found.pop("step"))
        refuse_another_count(Path(workdir) / "checkpoints" / str(step), step, meta, lambda: counted)
        digest = checkpoints.digest(step)
    return Opened(Path(workdir), recipe, setup, State(**found), step, records, mesh, digest, str(meta.get("data", "")))


def shaped(recipe: Recipe, records: Records, mesh: Mesh, origin: int = 0) -> tuple[Setup, TrainState]:
    """What trains on such records, and shapes and shardings of its state on `mesh`. Nothing is computed."""
    setup = build(recipe, records.count, origin)
    return setup, state_like(setup, records.batch(recipe.batch_size), mesh, recipe.mesh.rules)


def recipe_of(workdir: Path, allow: tuple[str, ...] = (), overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a run directory: data, never executed. `overrides` change keys of it for this command."""
    return parse(overridden(read_config(existing(workdir) / "config.json"), overrides), allow=allow)


def mesh_here(recipe: Recipe) -> Mesh:
    """The devices that are here, which may be others than the run's: parameters are shared out as in training, over as many
    of them as divide; the remaining axis is `data`.
    """
    count = jax.device_count()
    tensor = gcd(recipe.mesh.tensor, count) if recipe.mesh.tensor > 0 else 1
    left = count // tensor
    return make_mesh(-1, left if recipe.mesh.fsdp == -1 else gcd(recipe.mesh.fsdp, left), tensor)


def _records_here(recipe: Recipe) -> Records:
    """For checkpoints that do not say: those of the probe source, so that the pretraining data need not be at hand."""
    source: Any = (recipe.data.probe or recipe.data.pretrain).build()
    return records_of(source, BadRecords(recipe.data.max_bad_fraction))
