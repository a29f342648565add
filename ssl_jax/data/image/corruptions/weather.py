"""Weather. After ImageNet-C, with its levels; lengths in 224ths of the shorter side.

Fidelity: `frost` is drawn (ridges of fractal noise, bluish white), where the original overlays six photographs of frost;
`fog` weighs the waves of white noise, where the original has diamond-square; the upper levels of both add a little more than
the original's, so that each is farther from the picture than the one below; flakes of `snow` have one size at all severities
and grow in number and length, since the original's parameters do not grow together.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.image.corruptions.blur import along
from ssl_jax.data.image.corruptions.common import each, fractal, level, pixels, places, sampled
from ssl_jax.data.image.ops import unit

_FOG_AMOUNT, _FOG_DECAY = (1.5, 2.0, 2.5, 3.0, 4.0), (2.0, 2.0, 1.7, 1.5, 1.4)
_FROST_KEPT, _FROST_ADDED = (1.0, 0.8, 0.7, 0.65, 0.6), (0.4, 0.6, 0.7, 0.8, 0.9)
_SNOW_SHARE, _SNOW_REACH = (
    (0.015, 0.03, 0.05, 0.075, 0.11),
    (10.0, 12.0, 12.0, 12.0, 12.0),
)  # of pixels; of a flake's path
_SNOW_WIDTH, _SNOW_KEPT = (4.0, 4.0, 8.0, 8.0, 12.0), (0.8, 0.7, 0.7, 0.65, 0.55)
_FLAKE = 3.0  # side of a flake
_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)


def fog(x: Array, keys: Array, severity: Array | int) -> Array:
    """A cloud is added, and the brightest place stays as bright."""
    amount, brightest = level(_FOG_AMOUNT, severity), x.max(axis=(1, 2, 3), keepdims=True)
    cloudy = x + amount * fractal(keys, x, level(_FOG_DECAY, severity))
    return unit(cloudy * brightest / (brightest + amount))


def frost(x: Array, keys: Array, severity: Array | int) -> Array:
    """Ice on the window: the picture gets darker, and crystals are added."""
    ridges = jnp.square(1 - jnp.abs(2 * fractal(keys, x, 1.6) - 1))
    colour = jnp.asarray([0.85, 0.93, 1.0]) if x.shape[-1] == 3 else jnp.ones(x.shape[-1])
    return unit(level(_FROST_KEPT, severity) * x + level(_FROST_ADDED, severity) * ridges * colour)


def snow(x: Array, keys: Array, severity: Array | int) -> Array:
    """Flakes that fall, in front of a paler picture."""
    flakes = _flakes(keys, x, severity)
    kept, grey = level(_SNOW_KEPT, severity), x.mean(axis=-1, keepdims=True)
    pale = kept * x + (1 - kept) * jnp.maximum(x, 1.5 * grey + 0.5)
    return unit(pale + flakes + flakes[:, ::-1, ::-1])


def brightness(x: Array, keys: Array, severity: Array | int) -> Array:
    """The value of HSV is raised; hue and saturation stay."""
    value = x.max(axis=-1, keepdims=True)
    raised = unit(value + level(_BRIGHTNESS, severity))
    return jnp.where(value > 0, x * raised / jnp.where(value > 0, value, 1), raised)


def _flakes(keys: Array, x: Array, severity: Array | int) -> Array:
    """White [B, H, W, 1] where flakes are, drawn out along their path."""
    height, width = x.shape[1:3]
    drawn = each(lambda key: jax.random.uniform(key, (height, width, 1)), keys)
    rows, columns = places(x)
    side = jnp.maximum(pixels(x, _FLAKE), 1.0)
    here = (sampled(drawn, jnp.floor(rows / side), jnp.floor(columns / side)) < level(_SNOW_SHARE, severity)).astype(
        x.dtype
    )
    slope = each(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), (), minval=-3 / 4, maxval=-1 / 4), keys)
    return along(
        here, slope * math.pi, pixels(x, level(_SNOW_REACH, severity)), pixels(x, level(_SNOW_WIDTH, severity))
    )
