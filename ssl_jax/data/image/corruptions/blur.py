"""Blur of lens and motion. After ImageNet-C, with its levels in 224ths of the shorter side.

Fidelity: edges of the disc of `defocus_blur` are those of a normal distribution of half a pixel, so that discs smaller than a
pixel blur too; `glass_blur` moves every pixel once by a random amount, where the original swaps neighbours several times; the
line of `motion_blur` reaches to both sides; `zoom_blur` always adds up ten enlargements.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.stats import norm

from ssl_jax.data.image import ops
from ssl_jax.data.image.corruptions.common import each, level, pixels, places, sampled

_DEFOCUS = (3.0, 4.0, 6.0, 8.0, 10.0)  # radius
_GLASS_BLUR = (0.7, 0.9, 1.0, 1.1, 1.5)  # standard deviation
_GLASS_MOVED = (1.4, 2.0, 3.5, 4.2, 5.7)  # largest distance: that of one swap times the root of their number
_MOTION_REACH = (10.0, 15.0, 15.0, 15.0, 20.0)
_MOTION_WIDTH = (3.0, 5.0, 8.0, 12.0, 15.0)  # standard deviation along the line
_ZOOM = (1.11, 1.16, 1.21, 1.26, 1.33)  # largest enlargement
_TAPS, _ZOOMS = 31, 10


def defocus_blur(x: Array, keys: Array, severity: Array | int) -> Array:
    """The mean over a disc."""
    radius, reach = pixels(x, level(_DEFOCUS, severity)), math.ceil(pixels(x, _DEFOCUS[-1]) + 1)
    taps = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
    disc = norm.cdf((radius - jnp.hypot(taps[:, None], taps)) / 0.5)
    return _filtered(x, disc / disc.sum())


def glass_blur(x: Array, keys: Array, severity: Array | int) -> Array:
    """Frosted glass: every pixel comes from somewhere near, between two slight blurs."""
    sigma, most = (pixels(x, level(table, severity)) for table in (_GLASS_BLUR, _GLASS_MOVED))
    moved = most * each(lambda key: jax.random.uniform(key, (2, *x.shape[1:3]), minval=-1.0), keys)
    rows, columns = places(x)
    blurred = _gaussian(x, sigma)
    return _gaussian(sampled(blurred, rows + moved[:, 0], columns + moved[:, 1]), sigma)


def motion_blur(x: Array, keys: Array, severity: Array | int) -> Array:
    """A weighted mean along a line, at up to 45 degrees from level."""
    angle = each(lambda key: jax.random.uniform(key, (), minval=-math.pi / 4, maxval=math.pi / 4), keys)
    return along(x, angle, pixels(x, level(_MOTION_REACH, severity)), pixels(x, level(_MOTION_WIDTH, severity)))


def zoom_blur(x: Array, keys: Array, severity: Array | int) -> Array:
    """The mean of the picture and of enlargements of its centre."""
    rows, columns = places(x)
    middle = [(size - 1) / 2 for size in x.shape[1:3]]
    most = level(_ZOOM, severity)

    def add(total: Array, step: Array) -> tuple[Array, None]:
        factor = 1 + (most - 1) * step / _ZOOMS
        return total + sampled(
            x, middle[0] + (rows - middle[0]) / factor, middle[1] + (columns - middle[1]) / factor
        ), None

    total, _ = jax.lax.scan(add, x, jnp.arange(1, _ZOOMS + 1, dtype=jnp.float32))
    return total / (_ZOOMS + 1)


def along(x: Array, angle: Array, reach: Array, width: Array) -> Array:
    """The mean of x along a line at `angle` [B] (radians, anticlockwise from level), with normal weights of deviation `width` up
    to `reach` pixels to each side."""
    rows, columns = places(x)
    down, across = (-jnp.sin(angle)[:, None, None], jnp.cos(angle)[:, None, None])

    def add(total: Array, tap: Array) -> tuple[Array, None]:
        weight = jnp.exp(-0.5 * jnp.square(tap * reach / width))
        return total + weight * sampled(x, rows + tap * reach * down, columns + tap * reach * across), None

    taps = jnp.linspace(-1, 1, _TAPS)
    total, _ = jax.lax.scan(add, jnp.zeros_like(x), taps)
    return total / jnp.sum(jnp.exp(-0.5 * jnp.square(taps * reach / width)))


def _gaussian(x: Array, sigma: Array) -> Array:
    """Blurred; a tap reaches four of the largest deviation in the tables."""
    reach = math.ceil(4 * pixels(x, _GLASS_BLUR[-1]))
    return ops.gaussian_blur(x, jnp.maximum(sigma, 1e-3), 2 * reach + 1)


def _filtered(x: Array, kernel: Array) -> Array:
    """Every channel of x through one odd square kernel; the border is reflected."""
    reach, channels = len(kernel) // 2, x.shape[-1]
    wide = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
    weights = jnp.broadcast_to(kernel[:, :, None, None], (*kernel.shape, 1, channels))
    return jax.lax.conv_general_dilated(
        wide, weights, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=channels,
        precision=ops.EXACT,
    )  # fmt: skip
