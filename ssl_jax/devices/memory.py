"""Running out of memory: what needs how much, and what makes it less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.recipe import Recipe

SIGNS = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "OOM")


@contextmanager
def out_of_memory_explained(recipe: Recipe, like: Any) -> Iterator[None]:
    """Turn the runtime's out-of-memory errors inside the block into a UserError with an estimate and remedies.

    `like` is the state: arrays or `ShapeDtypeStruct`s with shardings.
    """
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in SIGNS):
            raise
        raise UserError(explanation(recipe, like, str(error))) from error


def explanation(recipe: Recipe, like: Any, said: str) -> str:
    """The message: what is known of the need, and the cheapest changes first."""
    devices = jax.device_count()
    remedies = [
        f"a smaller batch: batch_size (now {recipe.batch_size}, {recipe.batch_size / devices:g} a device)",
        "--config.model.remat=full, where the model has it",
    ]
    if recipe.optimizer.accumulation == 1:
        remedies.append(
            "--config.optimizer.accumulation=2, where the objective allows it: the same gradient in two parts"
        )
    if recipe.mesh.fsdp == 1 and devices > 1:
        remedies.append(f"--config.mesh.fsdp={devices} shares out the state over the devices")
    remedies.append("--config.model.dtype=bfloat16, where the model has it")
    first = said.strip().splitlines()[0][:300] if said.strip() else "MemoryError"
    return (
        f"out of memory ({first}).\nParameters, optimiser and everything else of the state are "
        f"{_size(per_device(like))} per device; activations, which grow with the batch, come on top. What helps:\n"
        + "\n".join(f"  {r}" for r in remedies)
    )


def per_device(like: Any) -> int:
    """Bytes of the state on the device that holds most of it."""
    return sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize for leaf in jax.tree.leaves(like)
    )


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
