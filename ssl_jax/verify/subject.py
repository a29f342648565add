"""What the checks look at: a recipe at a small batch, its objective in float32, and how to run its step on a mesh."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.pipeline import batches
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch, state_shardings
from ssl_jax.errors import UserError
from ssl_jax.objectives.shared.modules import computing_in, options_set, with_modules
from ssl_jax.recipe import Recipe
from ssl_jax.training.records import as_learned
from ssl_jax.training.run import batch_like, build, compiled, state_like
from ssl_jax.training.step import Setup, TrainState, init_state, value_and_gradient

Batch = Mapping[str, np.ndarray]
NEVER = 2.0**-60  # a rate that drops nothing, even in float64; SimCSE refuses to be without any
NOISELESS = {"drop_path": 0.0, "attention_dropout": 0.0, "rope_rescale": 1.0}  # options of modules that draw, off
SMALLEST = 2  # split every leaf that can be: the arrays of a tiny recipe are below the usual threshold


@dataclass(frozen=True, eq=False)
class Subject:
    """A recipe under test on `devices`. States and compiled steps are made once per mesh and shared by the checks."""

    recipe: Recipe
    setup: Setup
    source: Any
    batch_size: int
    devices: tuple[jax.Device, ...]
    exact: bool = False  # computes in float64
    given: TrainState | None = None  # in numpy; None: a fresh state

    @functools.cached_property
    def quiet(self) -> Subject:
        """The same with modules that draw nothing in training: what each microbatch draws for itself is not the batch's."""
        silent = with_modules(self.setup.objective, noiseless)
        if silent is self.setup.objective:
            return self
        return replace(self, setup=replace(self.setup, objective=silent), given=self.state)

    @functools.cached_property
    def double(self) -> Subject:
        """The same objective and state in float64, where rounding is nothing."""
        setup = replace(self.setup, objective=computing_in(self.setup.objective, "float64"))
        return replace(self, setup=setup, exact=True, given=in_double(self.state))

    def mesh(self, data: int = 1, fsdp: int = 1, tensor: int = 1) -> Mesh:
        """A mesh over the first devices."""
        return make_mesh(data, fsdp, tensor, list(self.devices[: data * fsdp * tensor]))

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batches of the real data, in the real order, from step `start`."""
        return batches(
            self.source, seed=self.recipe.seed, batch_size=self.batch_size, start_step=start, bad=BadRecords(1.0, None),
            process_index=0, process_count=1, threads=0, prefetch=0,
        )  # fmt: skip

    @functools.cached_property
    def batch(self) -> Batch:
        """The first batch."""
        return next(self.batches())

    @functools.cached_property
    def state(self) -> TrainState:
        """The state to look at, in numpy, so that every mesh starts from the same numbers."""
        return jax.tree.map(np.asarray, self.fresh()) if self.given is None else self.given

    def placed(self, state: TrainState, mesh: Mesh) -> TrainState:
        """The state on `mesh`, shared out as training would, small leaves included."""
        return jax.device_put(state, self.shardings(mesh))

    def shardings(self, mesh: Mesh) -> Any:
        """Where each leaf of the state lives on `mesh`."""
        return state_shardings(self.state, mesh, self.recipe.mesh.rules, SMALLEST, self.recipe.mesh.offload)

    def gradient(self, mesh: Mesh, state: TrainState | None = None, **microbatches: int) -> tuple[float, Any]:
        """Loss and gradient of the first batch on `mesh`, as numpy, with `accumulation` or `gradient_cache` microbatches."""
        with jax.enable_x64(True) if self.exact else nullcontext(), jax.set_mesh(mesh):
            given = self.state if state is None else in_double(state) if self.exact else state
            placed = self.placed(given, mesh)
            out, gradient = self._gradient_of(mesh, microbatches)(placed, place_batch(self.batch, batch_sharding(mesh)))
            return float(out.total()), jax.tree.map(np.asarray, gradient)

    def views(self, mesh: Mesh, batch: Batch) -> dict[str, np.ndarray]:
        """The views of a batch on `mesh`."""
        with jax.set_mesh(mesh):
            views, _ = self._views_of(mesh)(self.placed(self.state, mesh), place_batch(batch, batch_sharding(mesh)))
            return {k: np.asarray(v) for k, v in views.items()}

    def steps(self, state: TrainState, start: int, count: int) -> tuple[TrainState, list[float]]:
        """`count` training steps from step `start` on the mesh of all devices; the state and the losses."""
        mesh, stream, losses = self.all_devices, self.batches(start), []
        with jax.set_mesh(mesh):
            for _ in range(count):
                state, metrics = self._step(state, place_batch(next(stream), batch_sharding(mesh)))
                losses.append(float(metrics["loss"]))
        return state, losses

    @functools.cached_property
    def all_devices(self) -> Mesh:
        """Data parallel over every device."""
        return self.mesh(data=len(self.devices))

    @functools.cached_property
    def like(self) -> TrainState:
        """Shapes and shardings of the state on `all_devices`."""
        mesh, batch = self.all_devices, batch_like(self.source, self.batch_size, BadRecords(1.0, None))
        with jax.set_mesh(mesh):
            return state_like(self.setup, batch, mesh, self.recipe.mesh.rules, self.recipe.mesh.offload)

    def fresh(self) -> TrainState:
        """A fresh state on `all_devices`, made there."""
        with jax.set_mesh(self.all_devices):
            return self._init(dict(self.batch))

    @functools.cached_property
    def _init(self) -> Any:
        return jax.jit(partial(init_state, self.setup), out_shardings=jax.tree.map(lambda x: x.sharding, self.like))

    @functools.cached_property
    def _step(self) -> Any:
        return compiled(self.setup, 1, self.like)

    @functools.cached_property
    def _compiled(self) -> dict[Any, Any]:
        return {}

    def _gradient_of(self, mesh: Mesh, microbatches: Mapping[str, int]) -> Any:
        parts: dict[str, Any] = {"accumulation": 1, "gradient_cache": 1, **microbatches}
        setup = replace(self.setup, **parts)
        return self._compiled.setdefault((mesh, *microbatches.items()), jax.jit(partial(value_and_gradient, setup)))

    def _views_of(self, mesh: Mesh) -> Any:
        return self._compiled.setdefault((mesh, "views"), jax.jit(self.setup.views))


def noiseless(module: nn.Module) -> nn.Module:
    """The module with rates of dropout and the like at which nothing is drawn."""
    rate = getattr(module, "dropout", 0.0)  # a number, or one for each place
    quiet = rate and (NEVER if isinstance(rate, float) else type(rate)())
    return options_set(module, **NOISELESS, dropout=quiet)


def in_double(state: Any) -> Any:
    """A state in numpy, its float32 arrays in float64."""
    return jax.tree.map(
        lambda x: np.asarray(x, np.float64) if x.dtype == np.float32 else np.asarray(x), jax.device_get(state)
    )


def subject(recipe: Recipe, devices: tuple[jax.Device, ...], batch_size: int) -> Subject:
    """The subject for a recipe, in float32: in bfloat16 rounding is as large as most mistakes.

    UserError where `batch_size` does not divide over the devices, or a module computes in float32 by no means.
    """
    parts = 2 * len(devices)
    if batch_size % parts:
        raise UserError(
            f"--batch-size {batch_size}: use a multiple of {parts}, two microbatches on each of {len(devices)} devices"
        )
    source = recipe.data.pretrain.build()
    setup = build(recipe, len(source))
    source = as_learned(recipe, setup.objective.augment, source)
    setup = replace(setup, objective=computing_in(setup.objective, "float32"))
    return Subject(recipe, setup, source, batch_size, devices)
