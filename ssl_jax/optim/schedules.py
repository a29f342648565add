"""Schedules: pure functions of the step, a traced scalar."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array

Schedule = Callable[[Array], Array]


def warmup_cosine(peak: float, total: int, warmup: int = 0, final: float = 0.0, start: float = 0.0) -> Schedule:
    """Linear from `start` to `peak` over `warmup` steps, then half a cosine down to `final` at `total`."""

    def schedule(step: Array) -> Array:
        rising = start + (peak - start) * step / max(warmup, 1)
        share = jnp.clip((step - warmup) / max(total - warmup, 1), 0.0, 1.0)
        falling = final + (peak - final) * 0.5 * (1 + jnp.cos(jnp.pi * share))
        return jnp.where(step < warmup, rising, falling)

    return schedule


def warmup_constant(peak: float, total: int, warmup: int = 0, final: float = 0.0, start: float = 0.0) -> Schedule:
    """Linear from `start` to `peak` over `warmup` steps, then constant. `total` and `final` have no effect."""
    return lambda step: start + (peak - start) * jnp.minimum(step / max(warmup, 1), 1.0)


def cosine(start: float, end: float, total: int) -> Schedule:
    """Half a cosine from `start` at step 0 to `end` at `total` (weight decay in DINO and I-JEPA)."""
    return lambda step: end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(step / total, 0.0, 1.0)))


def warmup_milestones(
    peak: float,
    total: int,
    warmup: int = 0,
    final: float = 0.0,
    start: float = 0.0,
    milestones: Sequence[float] = (),
    factor: float = 0.1,
) -> Schedule:
    """Linear from `start` to `peak`, which is multiplied by `factor` at each of the `milestones`, fractions of `total`."""

    def schedule(step: Array) -> Array:
        passed = sum((step >= round(m * total)) * 1.0 for m in milestones)
        return (start + (peak - start) * jnp.minimum(step / max(warmup, 1), 1.0)) * factor**passed

    return schedule


SCHEDULES = {"cosine": warmup_cosine, "constant": warmup_constant, "milestones": warmup_milestones}
