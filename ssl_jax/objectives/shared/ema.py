"""The teacher: an exponential moving average of the student's parameters, and its momentum schedules."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Progress


@jax.named_scope("teacher")
def ema_update(teacher: dict, student: dict, momentum: Array | float) -> dict:
    """`momentum * teacher + (1 - momentum) * student`, leaf by leaf, in float32 or wider."""

    def blend(t: Array, s: Array) -> Array:
        kind = wide(t.dtype)
        return (momentum * t.astype(kind) + (1 - momentum) * s.astype(kind)).astype(t.dtype)

    return jax.tree.map(blend, teacher, student)


def linear_momentum(start: float, end: float, progress: Progress) -> Array | float:
    """From `start` at step 0, in a straight line, to `end` at the last step (I-JEPA)."""
    return start + (end - start) * progress.step / progress.total


def cosine_momentum(start: float, end: float, progress: Progress) -> Array:
    """`end - (end - start) * (1 + cos(pi t / T)) / 2` (BYOL, arXiv 2006.07733; DINO)."""
    return end - (end - start) * (1 + jnp.cos(jnp.pi * progress.step / progress.total)) / 2


UNTIL = ("total", "last")


def ending(progress: Progress, until: str) -> Progress:
    """`progress` for a schedule that ends "total", after all T steps, or at the "last", so that step t is t / (T - 1) of it.

    BYOL, MoCo v3, DINO and I-JEPA have t / T in their code; lightly's `cosine_schedule` has t / (T - 1).
    """
    if until not in UNTIL:
        raise UserError(f"objective.momentum_until={until!r} is unknown; use {' or '.join(UNTIL)}")
    return progress if until == "total" else progress._replace(total=jnp.maximum(progress.total - 1, 1))


MOMENTA = {"linear": linear_momentum, "cosine": cosine_momentum}


def move_centre(centre: Array, total: Array, count: Array | int, momentum: float) -> Array:
    """`momentum * centre + (1 - momentum) * total / count`; unchanged where `count` is 0 (DINO, arXiv 2104.14294, eq. 4)."""
    mean = total / jnp.maximum(count, 1)
    return jnp.where(jnp.asarray(count) > 0, momentum * centre + (1 - momentum) * mean, centre)
