"""The spike rule: leave out a step whose loss or gradient norm is far above what was usual lately.

A step spikes when its loss or its gradient norm exceeds `mean + 6 std` of the last 128 accepted steps, once 64 are known:
the rule of the SkipStep optimisers of OLMo-core (code), which levanter and MaxText have too. It is off unless
`optimizer.skip_spikes` is set: losses of self-supervised methods jump where their own schedules do. The window is kept
either way, so that it can be switched on in the middle of a run.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

LENGTH, LEAST, SIGMAS = 128, 64, 6.0


class Window(NamedTuple):
    """Loss and gradient norm of the last accepted steps: `values` float32 [2, 128], a ring; `count` int32, of all time."""

    values: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls; the name is in every checkpoint


def empty() -> Window:
    """A window that knows no step yet."""
    return Window(jnp.zeros((2, LENGTH), jnp.float32), jnp.zeros((), jnp.int32))


def is_spike(window: Window, loss: Array, norm: Array) -> Array:
    """Whether `loss` or `norm` (scalars) lies more than 6 standard deviations above the window's mean. Bool scalar."""
    known = jnp.arange(LENGTH) < window.count
    number = jnp.minimum(window.count, LENGTH).astype(jnp.float32)
    mean = jnp.sum(jnp.where(known, window.values, 0), axis=1) / jnp.maximum(number, 1)
    square = jnp.sum(jnp.where(known, jnp.square(window.values - mean[:, None]), 0), axis=1)
    limit = mean + SIGMAS * jnp.sqrt(square / jnp.maximum(number, 1))
    return (window.count >= LEAST) & jnp.any(jnp.stack([loss, norm]).astype(jnp.float32) > limit)


def pushed(window: Window, loss: Array, norm: Array) -> Window:
    """The window after an accepted step."""
    pair = jnp.stack([loss, norm]).astype(jnp.float32)
    return Window(window.values.at[:, window.count % LENGTH].set(pair), window.count + 1)
