"""Schedules: pure functions of the step, a traced scalar."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError

Schedule = Callable[[Array], Array | float]


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


def ahead(steps: int, warmup: int, schedule: Schedule) -> Schedule:
    """`schedule`, which is `steps` ahead while it rises: with 1, step t of a warm-up of n has (t + 1) / n of the rise."""
    return (lambda step: schedule(jnp.where(step < warmup, step + steps, step))) if steps else schedule


def since(origin: int, schedule: Schedule) -> Schedule:
    """`schedule`, which counts from the step `origin` on, and has its first value before."""
    return (lambda step: schedule(jnp.maximum(step - origin, 0))) if origin else schedule


def after_warmup(schedule: Schedule, peak: float, warmup: int, start: float = 0.0) -> Schedule:
    """Linear from `start` to `peak` over `warmup` steps, then `schedule`, which counts from there."""

    def joined(step: Array) -> Array:
        rising = start + (peak - start) * step / max(warmup, 1)
        return jnp.where(step < warmup, rising, schedule(jnp.maximum(step - warmup, 0)))

    return joined


def inverse_sqrt(peak: float, total: int, warmup: int = 0, final: float = 0.0, start: float = 0.0) -> Schedule:
    """Linear from `start` to `peak` over `warmup` steps, then `peak * sqrt(warmup / step)`, and never below `final`.

    Vaswani et al. 2017, arXiv 1706.03762, eq. 3; T5 (arXiv 1910.10683, section 3.1.2) is `start=1`. `total` has no effect.
    """
    since = max(warmup, 1)
    return after_warmup(lambda step: jnp.maximum(peak * jnp.sqrt(since / (since + step)), final), peak, warmup, start)


# What is left of the fall from the peak, at a share of the decay.
DECAYS = {
    "linear": lambda share: 1 - share,
    "cosine": lambda share: 0.5 * (1 + jnp.cos(jnp.pi * share)),
    "sqrt": lambda share: 1 - jnp.sqrt(share),
}


def warmup_stable_decay(
    peak: float,
    total: int,
    warmup: int = 0,
    final: float = 0.0,
    start: float = 0.0,
    decay: float = 0.1,
    shape: str = "sqrt",
) -> Schedule:
    """Linear from `start` to `peak` over `warmup` steps, constant, then down to `final` over the last share `decay` of `total`.

    Hu et al. 2024 (MiniCPM, arXiv 2404.06395, section 4); `shape` is linear, cosine or sqrt, that is `1 - sqrt(share)`
    (Hägele et al. 2024, arXiv 2405.18392, section 3).
    """
    if shape not in DECAYS:
        raise UserError(f"schedule.options.shape={shape!r} is unknown; use one of {', '.join(DECAYS)}")
    if not 0 < decay <= 1:
        raise UserError(f"schedule.options.decay={decay!r}: must be above 0 and at most 1, a share of the run")

    def stable_decay(step: Array) -> Array:
        share = jnp.clip((step + warmup - (1 - decay) * total) / (decay * total), 0.0, 1.0)
        return final + (peak - final) * DECAYS[shape](share)

    return after_warmup(stable_decay, peak, warmup, start)


SCHEDULES = {
    "cosine": warmup_cosine,
    "constant": warmup_constant,
    "milestones": warmup_milestones,
    "inverse_sqrt": inverse_sqrt,
    "wsd": warmup_stable_decay,
}
