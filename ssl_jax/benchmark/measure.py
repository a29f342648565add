"""One case measured: a step under several variants in turn, the phases of the fastest, and the wait for data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.benchmark import phases
from ssl_jax.benchmark.machine import Machine
from ssl_jax.benchmark.timing import Reading, alternate, summary, timed
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch
from ssl_jax.plan.estimate import traced
from ssl_jax.plan.flops import flops
from ssl_jax.plan.graph import graph_of
from ssl_jax.plan.problem import Problem, lowered
from ssl_jax.plan.summary import ONE_DEVICE
from ssl_jax.training.run import state_like
from ssl_jax.training.step import TrainState, init_state


@dataclass
class Trained:
    """A compiled step with its state, which every call moves on."""

    posed: Problem
    compiled: Any
    state: TrainState
    batch: dict[str, jax.Array]
    compiling: Reading
    metrics: dict[str, jax.Array] = field(default_factory=dict)

    def step(self) -> None:
        """Train once, and wait for it."""
        self.state, self.metrics = self.compiled(self.state, self.batch)
        jax.block_until_ready((self.state, self.metrics))


def prepared(posed: Problem) -> Trained:
    """Compile the step that training would run, on all devices, with a random state and random pixels there."""
    mesh = make_mesh(-1)
    program: list[Any] = []
    compiling = timed(lambda: program.append(lowered(posed, mesh).compile()))
    with jax.set_mesh(mesh):
        like = state_like(posed.setup, posed.batch, mesh, posed.recipe.mesh.rules)
        batch = place_batch(random_batch(posed), batch_sharding(mesh))
        shardings = jax.tree.map(lambda x: x.sharding, like)
        state = jax.jit(partial(init_state, posed.setup), out_shardings=shardings)(batch)
    return Trained(posed, program[0], state, batch, compiling)


def random_batch(posed: Problem) -> dict[str, np.ndarray]:
    """Records as the recipe's source has them, images full of noise."""
    rng = np.random.default_rng(0)
    filled = {
        k: rng.integers(0, 256, v.shape, np.uint8) if v.dtype == np.uint8 else np.zeros(v.shape, v.dtype)
        for k, v in posed.batch.items()
    }
    return filled | {"_id": np.arange(posed.recipe.batch_size, dtype=np.int32)}


def model_flops(posed: Problem) -> float:
    """FLOPs of a step that utilisation counts: without recomputation, and without the augmentation."""
    # A fused kernel hides its products from the count, so attention is that of XLA.
    plain, state = posed.changed({"model.remat": "none", "model.attention": "xla"}), posed.state()
    return flops(traced(plain, ONE_DEVICE, state)) - _traced_flops(plain.setup.views, state, plain.batch)


def measure_steps(runs: Mapping[str, Trained], rounds: int, machine: Machine) -> dict[str, Any]:
    """Rates and memory of every variant; one step of each before the clock starts."""
    for run in runs.values():
        run.step()
    readings = alternate({name: partial(timed, run.step) for name, run in runs.items()}, rounds)
    return {name: _row(run, readings[name], machine) for name, run in runs.items()}


def _row(run: Trained, readings: list[Reading], machine: Machine) -> dict[str, Any]:
    seconds, work = summary(readings), model_flops(run.posed)
    step = seconds[machine.clock]["median"]
    return {
        "seconds": seconds,
        "examples_per_second": run.posed.recipe.batch_size / step,
        "model_flops": work,
        "utilisation": machine.utilisation(work, step),
        "memory": memory(run.compiled),
        "compile_seconds": run.compiling._asdict(),
        "loss": float(run.metrics["loss"]),
    }


def memory(compiled: Any) -> dict[str, int | None]:
    """Bytes per device: what the compiler plans, and the most that was ever in use in this process, if the device counts."""
    found = compiled.memory_analysis()
    counted = jax.devices()[0].memory_stats() or {}
    return {
        "arguments": found.argument_size_in_bytes,
        "temporaries": found.temp_size_in_bytes,
        "outputs_not_donated": found.output_size_in_bytes - found.alias_size_in_bytes,
        "process_peak": counted.get("peak_bytes_in_use"),
    }


def measure_phases(run: Trained, rounds: int, machine: Machine) -> dict[str, Any]:
    """Seconds of each phase, and how far it is from the least that its FLOPs, and its arguments and results, allow."""
    plain, compiled = phases.functions(run.posed.setup), {}

    def first(name: str, *arguments: Any) -> Any:
        jitted = jax.jit(plain[name], donate_argnums=0 if name == "update" else ())
        compiled[name] = jitted.lower(*arguments).compile()
        return None if name == "update" else compiled[name](*arguments)  # it would take the state away

    with jax.set_mesh(make_mesh(-1)):
        _, given = phases.chained({name: partial(first, name) for name in plain}, run.state, run.batch)
        held = [jax.tree.map(jnp.copy, run.state)]  # the state that the update moves on, in place as in training

        def call(name: str) -> None:
            if name == "update":
                held[0], _ = jax.block_until_ready(compiled[name](held[0], *given[name][1:]))
            else:
                jax.block_until_ready(compiled[name](*given[name]))

        for name in compiled:
            call(name)
        readings = alternate({name: partial(timed, partial(call, name)) for name in compiled}, rounds)
        work = {name: _traced_flops(f, *given[name]) for name, f in plain.items()}
    return {name: _phase(compiled[name], work[name], readings[name], machine) for name in compiled}


def _phase(compiled: Any, work: float, readings: list[Reading], machine: Machine) -> dict[str, Any]:
    found = compiled.memory_analysis()  # arguments that a phase does not read are no arguments of its program
    size = machine.count * (found.argument_size_in_bytes + found.output_size_in_bytes)
    floor, seconds = machine.roofline(work, size), summary(readings)
    return {
        "seconds": seconds, "flops": work, "bytes": size, "floor_seconds": floor.floor, "bound": floor.bound,
        "gap": seconds[machine.clock]["median"] / floor.floor,
    }  # fmt: skip


def _traced_flops(function: Callable[..., Any], *arguments: Any) -> float:
    return flops(graph_of(jax.make_jaxpr(function)(*arguments)))
