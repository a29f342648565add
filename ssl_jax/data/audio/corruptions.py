"""What happens to a recording: noise at a given level, and a shift in time. Functions on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

_SNR = (20.0, 15.0, 10.0, 5.0, 0.0)  # decibels
_SHIFT = (0.05, 0.1, 0.2, 0.35, 0.5)  # share of the length


def white_noise(x: Array, keys: Array, severity: Array | int) -> Array:
    """Waves float32 [B, T] with normal noise, 20, 15, 10, 5 and 0 dB below each wave's own power; keys [B]."""
    return noisy(x, keys, jnp.asarray(_SNR)[jnp.asarray(severity) - 1])


def noisy(x: Array, keys: Array, decibels: Array | float) -> Array:
    """Waves [B, T] with normal noise of a power `decibels` below their own; silence stays silent."""
    noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)
    power = jnp.mean(jnp.square(x), axis=1, keepdims=True)
    return x + noise * jnp.sqrt(power * 10 ** (-jnp.asarray(decibels, x.dtype) / 10))


def time_shift(x: Array, keys: Array, severity: Array | int) -> Array:
    """Waves [B, T] moved by up to 5, 10, 20, 35 and 50 % of their length, earlier or later; silence comes in."""
    most = jnp.asarray(_SHIFT)[jnp.asarray(severity) - 1] * x.shape[1]
    steps = jax.vmap(lambda key: jax.random.uniform(key, (), minval=-1.0))(keys) * most
    return shifted(x, jnp.round(steps).astype(jnp.int32))


def shifted(x: Array, steps: Array) -> Array:
    """Waves [B, T] later by `steps` int32 [B] samples (negative: earlier), with zeros where nothing was recorded."""
    read = jnp.arange(x.shape[1]) - steps[:, None]
    there = (read >= 0) & (read < x.shape[1])
    return jnp.where(there, jnp.take_along_axis(x, jnp.clip(read, 0, x.shape[1] - 1), axis=1), 0)
