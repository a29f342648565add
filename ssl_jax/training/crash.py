"""What is left of a run whose steps were skipped too often: everything that `ssl-jax replay` needs to see it again.

`<workdir>/crash/step_<K>/` holds config.json (the recipe), bundle.json (step, record ids, what was not finite) and state.npz
(parameters and the rest of the state that the loss depends on). JSON and plain arrays: nothing in it is executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ssl_jax.checkpoint.manifest import entries
from ssl_jax.data.pipeline import BadRecords, examples
from ssl_jax.devices.distributed import gathered, is_first, rows_of_all
from ssl_jax.devices.mesh import batch_sharding, path_name, place_batch
from ssl_jax.errors import UserError
from ssl_jax.recipe import to_json
from ssl_jax.rundir.identity import identity
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.writing import own_folder, replace_file, replacing
from ssl_jax.training.step import Setup, TrainState, value_and_gradient


class Diverged(UserError):
    """Too many steps in a row were skipped. `step` is the last of them; `ids`, `epochs` are this process's rows of it."""

    def __init__(
        self,
        step: int,
        metrics: dict[str, Any],
        ids: np.ndarray,
        epochs: np.ndarray,
        skipped: list[tuple[int, list[int]]],
    ) -> None:
        self.step, self.ids, self.epochs = step, ids, epochs
        self.metrics = {k: float(v) for k, v in metrics.items()}
        row = int(metrics["skipped_in_a_row"])
        self.applied = step - row
        finite = math.isfinite(self.metrics["loss"]) and math.isfinite(self.metrics["grad_norm"])
        where = "\n".join(f"  step {s}: {' '.join(map(str, i))}" for s, i in skipped)
        self.finite = finite
        super().__init__(
            f"loss or gradient {'spiked' if finite else 'was not finite'} {row} steps in a row, up to step {step}; none of "
            f"them was applied.\nLower optimizer.lr, set optimizer.clip, or look at the examples. Their ids:\n{where}"
        )


def diagnosis(setup: Setup, state: TrainState, batch: dict[str, Array]) -> dict[str, Any]:
    """Loss, its terms and the gradient norm of a batch, and how many values of each array are not finite. Pure; jit it.

    Returns `{"values": {name: scalar}, "nonfinite": {"gradient/...": count, "views/...": ..., "params/...": ...}}`.
    """
    out, gradient = value_and_gradient(setup, state, batch)
    looked = {"gradient": gradient, "params": state.params, "extra": state.extra}
    if setup.accumulation == 1:  # otherwise the views of the whole batch may not fit
        looked["views"] = setup.views(state, batch)[0]
    leaves, _ = jax.tree_util.tree_flatten_with_path(looked)
    counts = {path_name(path): _nonfinite(leaf) for path, leaf in leaves}
    terms = {k: m.value for k, m in (out.losses | out.metrics).items()}
    return {"values": {"loss": out.total(), "grad_norm": optax.global_norm(gradient)} | terms, "nonfinite": counts}


@contextmanager
def bundle_on_divergence(
    workdir: Any, setup: Setup, source: Any, fingerprint: str, state: Callable[[], TrainState], mesh: Any
) -> Iterator[None]:
    """Write a bundle when `Diverged` passes, and add to its message how to replay it. `state` gives the present one."""
    try:
        yield
    except Diverged as failure:
        folder = Path(workdir.path) / "crash" / f"step_{failure.step}"
        try:
            workdir.check_place()
            _write(folder, workdir.config, setup, source, fingerprint, before(state(), failure), failure, mesh)
        except Exception as error:  # the reason of the crash is more important than its bundle
            logger.error("the crash bundle %s could not be written: %s", folder, error)
            raise failure from None
        told = "" if failure.finite else f"\n{what_is_kept(steps_in(Path(workdir.path)), failure.applied)}"
        failure.args = (f"{failure}{told}\nTo see it again: ssl-jax replay {folder}",)
        raise


def steps_in(workdir: Path) -> list[int]:
    """The steps whose checkpoints are there, oldest first."""
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdecimal())


def what_is_kept(kept: Sequence[int], applied: int) -> str:
    """Which checkpoints hold parameters whose loss was finite: those from before step `applied`, the last that was applied."""
    good, same = [s for s in kept if s < applied], [s for s in kept if s >= applied]
    if not kept:
        return "No checkpoint was made yet"
    if not same:
        return f"The checkpoint of step {good[-1]} is from before these parameters, and the same command resumes there"
    named = f"The parameters that these steps failed with are those of the checkpoint{_of_steps(same)}"
    if not good:
        return f"{named}; no kept checkpoint is good: unless it is the examples, start in another --workdir"
    return f"{named}; unless it is the examples, move it away, and the same command resumes at step {good[-1]}"


def _of_steps(steps: Sequence[int]) -> str:
    return f" of step {steps[0]}" if len(steps) == 1 else f"s of steps {', '.join(map(str, steps))}"


def before(state: TrainState, failure: Diverged) -> TrainState:
    """The state as step `failure.step` found it: since it was skipped, all but the counters is still there."""
    counter = lambda like, value: jnp.full_like(like, int(value))  # noqa: E731
    return state._replace(
        step=counter(state.step, failure.step - 1),
        skipped=counter(state.skipped, failure.metrics["skipped"] - 1),
        nonfinite=counter(state.nonfinite, failure.metrics["skipped_in_a_row"] - 1),
    )


def arrays(state: TrainState) -> dict[str, Any]:
    """What the loss depends on, by dotted path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path({"params": state.params, "extra": state.extra})
    return {path_name(path).replace("/", "."): leaf for path, leaf in leaves}


def readable(found: dict[str, Any]) -> dict[str, Any]:
    """A diagnosis as JSON: floats as text, so that nan and inf and every bit are kept; arrays without a fault left out."""
    values = {k: float(v).hex() for k, v in found["values"].items()}
    return {"values": values, "nonfinite": {k: int(v) for k, v in found["nonfinite"].items() if int(v)}}


def _write(
    folder: Path,
    config: Any,
    setup: Setup,
    source: Any,
    fingerprint: str,
    state: TrainState,
    failure: Diverged,
    mesh: Any,
) -> None:
    batch = examples(source, failure.ids, failure.epochs, BadRecords(1.0))
    found = jax.jit(partial(diagnosis, setup))(state, place_batch(batch, batch_sharding(mesh)))
    ids, epochs, held = rows_of_all(failure.ids), rows_of_all(failure.epochs), gathered(arrays(state))
    if not is_first():
        return
    record = {
        "run": identity(folder.parent.parent).name,
        "step": failure.step,
        "skipped_before": int(failure.metrics["skipped"]) - 1,
        "seed": setup.seed,
        "data": fingerprint,
        "mesh": dict(mesh.shape),
        "ids": ids.tolist(),
        "epochs": epochs.tolist(),
        "found": readable(jax.device_get(found)),
    }
    own_folder(own_folder(folder.parent) / folder.name)
    replace_file(folder / "config.json", to_json(config))
    # bfloat16 has no name in npz: its bits are stored, and bundle.json holds the types.
    record["dtypes"] = {k: str(v.dtype) for k, v in held.items()}
    bits: dict[str, Any] = {k: _plain(v) for k, v in held.items()}
    with replacing(folder / "state.npz") as file:
        np.savez(file, **bits)
    record["files"] = entries(folder, ["config.json", "state.npz"])  # those that this record belongs to
    replace_file(folder / "bundle.json", json.dumps(record, indent=1) + "\n")


def _plain(x: np.ndarray) -> np.ndarray:
    return x if x.dtype.kind in "biuf" and x.dtype.isbuiltin else x.view(f"u{x.dtype.itemsize}")


def _nonfinite(x: Array) -> Array:
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros((), jnp.int32)
    return jnp.sum(~jnp.isfinite(x), dtype=jnp.int32)
