"""Everything about a step that needs no compiler: sizes, FLOPs, what is seen, and the memory estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ssl_jax.data.augment import given, other_kinds
from ssl_jax.devices.mesh import path_name
from ssl_jax.objectives.base import Objective, Views
from ssl_jax.objectives.shared.forward import arrays_of
from ssl_jax.objectives.shared.modules import has, modules_in, options_set, with_modules
from ssl_jax.plan.flops import flops
from ssl_jax.plan.graph import Graph, graph_of, same_program
from ssl_jax.plan.memory import StateBytes, batch_bytes, state_bytes, temporary_bytes
from ssl_jax.plan.problem import Problem, abstract_mesh, mesh_sizes
from ssl_jax.training.step import TrainState, train_step

PLAIN = "xla"  # the attention that hides no products from the count
# Batch sizes that the graph of a step is compared with that at its own, until one makes the same program.
OTHERS = (Fraction(2), Fraction(1, 2), Fraction(3, 2), Fraction(9, 8))


@dataclass(frozen=True)
class Estimate:
    """What shapes and the jaxpr say. Bytes per device unless named otherwise; FLOPs of one step over all devices."""

    sizes: dict[str, int]  # of the mesh axes
    parameters: dict[str, int]  # by module
    state: dict[str, StateBytes]
    batch: int
    temporaries: int
    flops: float  # of the step as written, attention between all tokens of a sequence, which kernels would hide
    model_flops: float  # without recomputation
    tokens: int | None  # per example
    wire: float  # bytes of all weights, or of their gradient, as they move between devices: in the compute types

    @property
    def peak(self) -> int:
        """State, batch and temporaries."""
        return sum(part.per_device for part in self.state.values()) + self.batch + self.temporaries

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
    graph, other = alike(posed, sizes, state)
    as_written = with_options(posed, attention=PLAIN)
    plain = with_options(as_written, remat="none")
    written = flops(graph if as_written is posed else traced(as_written, sizes, state))
    return Estimate(
        sizes=sizes,
        parameters=parameters(state.params),
        state=state_bytes(state, sizes, posed.recipe.mesh.rules),
        batch=batch_bytes(posed.batch, sizes),
        temporaries=temporary_bytes(graph, other, sizes),
        flops=written,
        model_flops=written if plain is as_written else flops(traced(plain, sizes, state)),
        tokens=tokens(posed, state),
        wire=wire(posed, state),
    )


def alike(posed: Problem, sizes: Mapping[str, int], state: TrainState) -> tuple[Graph, Graph]:
    """The graph of the training step, and the same at another batch size: what differs in size is split over the batch.

    A loss that computes in another way from some batch size on makes another program there; the next of `OTHERS` is tried.
    """
    graph = traced(posed, sizes, state)
    others = (traced(posed, sizes, state, times) for times in OTHERS)
    return graph, next(other for other in others if same_program(graph, other))


def traced(posed: Problem, sizes: Mapping[str, int], state: TrainState, times: Fraction = Fraction(1)) -> Graph:
    """The graph of the training step on a mesh of these sizes, at `times` the batch."""
    batch = {k: jax.ShapeDtypeStruct((int(times * v.shape[0]), *v.shape[1:]), v.dtype) for k, v in posed.batch.items()}
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
    """Tokens of all views of one example that its encoders are given: ids, or patches. None where there are neither."""
    views, _ = jax.eval_shape(posed.setup.views, state, posed.batch)
    return sum(_tokens(module, inputs, views) for module, inputs in _read(posed.setup.objective)) or None


def wire(posed: Problem, state: TrainState) -> float:
    """Bytes of all weights, each in the type that its module computes in; one that names none has the encoder's."""
    modules = posed.setup.objective.modules
    widths = {name: _width(module) for name, module in modules.items()}
    usual = next(filter(None, widths.values()), jnp.dtype("float32").itemsize)
    return sum(count * (widths.get(name) or usual) for name, count in parameters(state.params, 1).items())


def remat(posed: Problem) -> str | None:
    """The recomputation policy of the first module that has one."""
    policies = (m.remat for m in modules_in(tuple(posed.setup.objective.modules.values())) if has(m, "remat"))
    return next(policies, None)


def with_options(posed: Problem, **options: str) -> Problem:
    """The problem whose modules have these options, those that know them; itself where nothing changes."""
    objective = with_modules(posed.setup.objective, lambda module: options_set(module, **options))
    same = objective is posed.setup.objective
    return posed if same else replace(posed, setup=replace(posed.setup, objective=objective))


def _read(objective: Objective) -> list[tuple[nn.Module, tuple[str, ...]]]:
    """The encoders with what they are given; student and teacher see the same, and a tower with its head what it does alone."""
    found: list[tuple[nn.Module, tuple[str, ...]]] = []
    for encoder in objective.encoders().values():
        parts = list(modules_in(encoder.module))
        if not any(module in parts and inputs == encoder.inputs for module, inputs in found):
            found.append((encoder.module, encoder.inputs))
    return found


def _tokens(module: nn.Module, inputs: tuple[str, ...], views: Views) -> int:
    """Tokens of the main views, and of those of other kinds that are like them, for one encoder."""
    if not views.keys() >= set(inputs):
        return 0
    kinds = [given(views, inputs), *other_kinds(views, inputs).values()]
    main, *others = (arrays_of(view)[0] for view in kinds)
    alike = [main, *(x for x in others if (x.ndim, x.dtype) == (main.ndim, main.dtype))]
    patch = next((m.patch for m in modules_in(module) if has(m, "patch")), None)
    return sum(_cells(x.shape[1], x.shape[2:], x.dtype, patch) for x in alike)


def _cells(views: int, shape: tuple[int, ...], dtype: Any, patch: int | tuple[int, ...] | None) -> int:
    """Tokens of `views` arrays of this shape: every id, or patches along all axes but the last, the channels."""
    if jnp.issubdtype(dtype, jnp.integer):
        return views * prod(shape)
    if patch is None:
        return 0
    sides = patch if isinstance(patch, tuple) else (patch,) * (len(shape) - 1)
    return views * prod(size // side for size, side in zip(shape[:-1], sides, strict=True))


def _width(module: nn.Module) -> int:
    """Bytes of a number in the widest type that a module computes in; 0 where none is named."""
    return max((jnp.dtype(m.dtype).itemsize for m in modules_in(module) if has(m, "dtype")), default=0)
