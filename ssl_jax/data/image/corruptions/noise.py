"""Noise of the sensor. After ImageNet-C (Hendrycks & Dietterich 2019), with its levels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.image.corruptions.common import each, level, normal
from ssl_jax.data.image.ops import unit

_GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation
_SHOT = (60.0, 25.0, 12.0, 5.0, 3.0)  # photons for white
_IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)  # share of numbers that are lost


def gaussian_noise(x: Array, keys: Array, severity: Array | int) -> Array:
    """Independent normal noise on every number."""
    return unit(x + level(_GAUSSIAN, severity) * normal(keys, x))


def shot_noise(x: Array, keys: Array, severity: Array | int) -> Array:
    """Poisson noise: few photons."""
    photons = level(_SHOT, severity)
    return unit(jax.vmap(lambda key, each: jax.random.poisson(key, each * photons))(keys, x) / photons)


def impulse_noise(x: Array, keys: Array, severity: Array | int) -> Array:
    """Salt and pepper: some numbers are 0, as many 1."""
    share = level(_IMPULSE, severity)
    drawn = each(lambda key: jax.random.uniform(key, x.shape[1:]), keys)
    return jnp.where(drawn < share / 2, 0.0, jnp.where(drawn < share, 1.0, x))
