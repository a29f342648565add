"""The 15 corruptions of ImageNet-C by name (Hendrycks & Dietterich 2019, arXiv 1903.12261), as functions on the device.

Each is `f(x, keys, severity)`: float32 [B, H, W, C] in [0, 1] to the same, with one key for each example [B], severity 1 to 5
(a number or traced). What an example becomes does not depend on the others. Any number of channels, any size from about 16
pixels on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import jax
from jax import Array

from ssl_jax.data.image.corruptions import blur, digital, noise, weather
from ssl_jax.errors import UserError

Corruption = Callable[[Array, Array, Array | int], Array]

FAMILIES: Mapping[str, tuple[Corruption, ...]] = MappingProxyType(
    {
        "noise": (noise.gaussian_noise, noise.shot_noise, noise.impulse_noise),
        "blur": (blur.defocus_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur),
        "weather": (weather.snow, weather.frost, weather.fog, weather.brightness),
        "digital": (digital.contrast, digital.elastic_transform, digital.pixelate, digital.jpeg_compression),
    }
)
CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {f.__name__: f for family in FAMILIES.values() for f in family}
)
SEVERITIES = (1, 2, 3, 4, 5)


def corrupted(name: str, x: Array, keys: Array, severity: int) -> Array:
    """x [B, H, W, C] after one corruption.

    Raises:
      UserError: no such corruption, or a severity that is none of 1 to 5.
    """
    if name not in CORRUPTIONS:
        raise UserError(f"corruption {name!r} is unknown; use any of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise UserError(f"severity={severity!r}: use 1 (mild) to 5")
    return _compiled(name, x, keys, severity)


@partial(jax.jit, static_argnums=0)
def _compiled(name: str, x: Array, keys: Array, severity: Array) -> Array:
    return CORRUPTIONS[name](x, keys, severity)
