"""Everything about a step that needs no compiler: sizes, FLOPs, what is seen, and the memory estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.devices.mesh import path_name
from ssl_jax.plan.flops import flops
from ssl_jax.plan.graph import Graph, graph_of
from ssl_jax.plan.memory import StateBytes, batch_bytes, state_bytes, temporary_bytes
from ssl_jax.plan.problem import Problem, abstract_mesh, mesh_sizes
from ssl_jax.training.step import TrainState, train_step


@dataclass(frozen=True)
class Estimate:
    """What shapes and the jaxpr say. Bytes per device unless named otherwise; FLOPs of one step over all devices."""

    sizes: dict[str, int]  # of the mesh axes
    parameters: dict[str, int]  # by module
    state: dict[str, StateBytes]
    batch: int
    temporaries: int
    flops: float  # of the step as written
    model_flops: float  # without recomputation
    tokens: int | None  # per example
    width: int  # bytes of a weight or gradient on the wire: those of the compute type

    @property
    def peak(self) -> int:
        """State, batch and temporaries."""
        return sum(part.per_device for part in self.state.values()) + self.batch + self.temporaries

    @property
    def wire(self) -> float:
        """Bytes of all weights, or of their gradient, as they move between devices."""
        return sum(self.parameters.values()) * self.width

    @property
    def checkpoint(self) -> int:
        """Bytes of one checkpoint: the whole state, before compression."""
        return sum(part.total for part in self.state.values())

    @property
    def replicated(self) -> int:
        """Bytes of the state that every device holds alike."""
        return sum(part.replicated for part in self.state.values())


def estimate(posed: Problem, count: int) -> Estimate:
    """The estimate of a problem on `count` devices; UserError where mesh or batch do not divide."""
    sizes = mesh_sizes(posed.recipe, count)
    state = posed.state()
    graph, twice = traced(posed, sizes, state), traced(posed, sizes, state, times=2)
    as_written = flops(graph)
    plain = None if remat(posed) in (None, "none") else posed.changed({"model.remat": "none"})
    return Estimate(
        sizes=sizes,
        parameters=parameters(state.params),
        state=state_bytes(state, sizes, posed.recipe.mesh.rules),
        batch=batch_bytes(posed.batch, sizes),
        temporaries=temporary_bytes(graph, twice, sizes),
        flops=as_written,
        model_flops=as_written if plain is None else flops(traced(plain, sizes, state)),
        tokens=tokens(posed, state),
        width=jnp.dtype(_option(posed, "dtype", "float32")).itemsize,
    )


def traced(posed: Problem, sizes: Mapping[str, int], state: TrainState, times: int = 1) -> Graph:
    """The graph of the training step on a mesh of these sizes, at `times` the batch."""
    batch = {k: jax.ShapeDtypeStruct((times * v.shape[0], *v.shape[1:]), v.dtype) for k, v in posed.batch.items()}
    with jax.sharding.use_abstract_mesh(abstract_mesh(sizes)):
        return graph_of(jax.make_jaxpr(partial(train_step, posed.setup))(state, batch))


def parameters(params: Any, depth: int = 2) -> dict[str, int]:
    """How many parameters each module has, down to `depth` names of its path."""
    found: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = "/".join(path_name(path).split("/")[:depth])
        found[name] = found.get(name, 0) + int(np.prod(leaf.shape, dtype=np.int64))
    return found


def tokens(posed: Problem, state: TrainState) -> int | None:
    """Tokens of all views of one example: patches of images, or entries of `tokens`. None where the model has neither."""
    views, _ = jax.eval_shape(posed.setup.views, state, posed.batch)
    patch = _option(posed, "patch", None)
    count = 0
    for name, view in views.items():
        if view.ndim == 5 and isinstance(patch, int):
            count += view.shape[1] * (view.shape[2] // patch) * (view.shape[3] // patch)
        elif name == "tokens":
            count += int(np.prod(view.shape[1:]))
    return count or None


def remat(posed: Problem) -> str | None:
    """The recomputation policy of the encoder, or None where it has no such option."""
    return _option(posed, "remat", None)


def _option(posed: Problem, name: str, default: Any) -> Any:
    """The option of the encoder, or of the first of several that has it."""
    encoder = getattr(posed.setup.objective, "encoder", None)
    modules = encoder.values() if isinstance(encoder, Mapping) else [encoder]
    return next((getattr(module, name) for module in modules if hasattr(module, name)), default)
