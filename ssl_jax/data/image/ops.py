"""Image operations on the device: batched pure functions of float32 [B, H, W, C] in [0, 1].

Every parameter (`factor`, `sigma`, `top`, ...) is a scalar or an array [B], one value for each example; sizes are
static. The definitions are those of torchvision on float tensors unless a function says otherwise. `saturation`, `hue`
and `grey` speak of red, green and blue and need exactly 3 channels; all others work on any number of them.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.image.boxes import BOX_DRAWS as BOX_DRAWS
from ssl_jax.data.image.boxes import CROP_TRIES, central_box

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R 601 as torchvision rounds it
INTERPOLATIONS = ("bilinear", "bicubic")
ROUNDINGS = {"nearest": jnp.round, "down": jnp.floor}  # of the sides of random boxes

# The default of a GPU is TF32 and of a TPU bfloat16: an error of a grey level in each crop, and another one on each
# platform. These products are small beside a training step, so they are exact.
EXACT = jax.lax.Precision.HIGHEST


# ---------------------------------------------------------------------------------------------------------- photometry


def unit(x: Array) -> Array:
    """Clip to [0, 1]."""
    return jnp.clip(x, 0.0, 1.0)


def scaled(x: Array) -> Array:
    """Pixels as float32 in [0, 1]: integers by the largest of their type, floats as they are."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(jnp.float32)
    return x.astype(jnp.float32) / jnp.iinfo(x.dtype).max


def where(condition: Array, chosen: Array, otherwise: Array) -> Array:
    """The images of `chosen` for which `condition` [B] is true, those of `otherwise` elsewhere."""
    return jnp.where(jnp.reshape(condition, (-1, 1, 1, 1)), chosen, otherwise)


def brightness(x: Array, factor: Array | float) -> Array:
    """`clip(factor * x)`."""
    return unit(_each(factor) * x)


def contrast(x: Array, factor: Array | float) -> Array:
    """`clip(factor * x + (1 - factor) * m)`, `m` the mean of the whole image in grey: one scalar for each example."""
    return _blend(x, jnp.mean(_luminance(x), axis=(1, 2, 3), keepdims=True), factor)


def saturation(x: Array, factor: Array | float) -> Array:
    """`clip(factor * x + (1 - factor) * grey(x))`, on 3 channels."""
    return _blend(x, _luminance(x), factor)


def hue(x: Array, shift: Array | float) -> Array:
    """Turn the hue of HSV by `shift` (1 is the full circle), on 3 channels."""
    red, green, blue = jnp.split(x, 3, axis=-1)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    inverse = 1.0 / jnp.where(chroma > 0, chroma, 1.0)
    sector = jnp.where(  # of the hexagon of hues: 0 is red, 2 green, 4 blue
        value == red,
        (green - blue) * inverse,
        jnp.where(value == green, 2.0 + (blue - red) * inverse, 4.0 + (red - green) * inverse),
    )
    sector = sector + 6.0 * _each(shift)

    def channel(offset: float) -> Array:
        k = offset + sector
        k = k - 6.0 * jnp.floor(k / 6.0)  # several times faster than jnp.mod on CPU
        return value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)

    return unit(jnp.concatenate([channel(5.0), channel(3.0), channel(1.0)], axis=-1))


def grey(x: Array) -> Array:
    """Luminance `.2989 R + .587 G + .114 B`, repeated over the 3 channels."""
    return jnp.broadcast_to(_luminance(x), x.shape)


def solarize(x: Array, threshold: Array | float = 0.5) -> Array:
    """`1 - x` where `x >= threshold`."""
    return jnp.where(x >= _each(threshold), 1.0 - x, x)


def brightness_additive(x: Array, shift: Array | float) -> Array:
    """`clip(x + shift)`: the brightness of SimCLR v1 and BYOL (`tf.image.adjust_brightness`)."""
    return unit(x + _each(shift))


def contrast_by_channel(x: Array, factor: Array | float) -> Array:
    """`clip(factor * x + (1 - factor) * m_c)`, `m_c` the mean of each channel (`tf.image.adjust_contrast`)."""
    return _blend(x, jnp.mean(x, axis=(1, 2), keepdims=True), factor)


def saturation_hsv(x: Array, factor: Array | float) -> Array:
    """Multiply the S of HSV by `factor` and clip it at 1 (`tf.image.adjust_saturation`), on 3 channels.

    With V and H kept this is a blend with V: `V + (x - V) * min(factor, 1 / S)`.
    """
    value = jnp.max(x, axis=-1, keepdims=True)
    chroma = value - jnp.min(x, axis=-1, keepdims=True)
    inverse = value / jnp.where(chroma > 0, chroma, 1.0)
    return unit(value + (x - value) * jnp.where(chroma > 0, jnp.minimum(_each(factor), inverse), 1.0))


def _each(parameter: Array | float) -> Array:
    """A parameter [B] or scalar, shaped to meet [B, H, W, C]."""
    return jnp.reshape(jnp.asarray(parameter, jnp.float32), (-1, 1, 1, 1))


def _blend(x: Array, base: Array, factor: Array | float) -> Array:
    factor = _each(factor)
    return unit(factor * x + (1.0 - factor) * base)


def _luminance(x: Array) -> Array:
    """[B, H, W, 1]: the grey image; the mean over channels where these are not red, green and blue."""
    if x.shape[-1] == 3:
        planes = zip(GREY_WEIGHTS, jnp.split(x, 3, axis=-1), strict=True)
        return functools.reduce(jnp.add, (weight * plane for weight, plane in planes))
    return jnp.mean(x, axis=-1, keepdims=True)


# ------------------------------------------------------------------------------------------------------------ geometry


def translate(x: Array, down: Array, right: Array) -> Array:
    """Move the picture by whole pixels, int32 [B] each; the edge is repeated into what is uncovered."""
    height, width = x.shape[1:3]
    return _separable(x, _shifted(down, height), _shifted(right, width))


def resized_crop(
    x: Array,
    top: Array,
    left: Array,
    height: Array,
    width: Array,
    size: tuple[int, int],
    method: str = "bilinear",
    antialias: bool = True,
) -> Array:
    """The box of `height` x `width` pixels at (`top`, `left`), each [B], resampled to `size` (rows, columns).

    `method` is "bilinear" or "bicubic" (a = -0.5), widened where it shrinks as in Pillow and in torchvision with
    `antialias=True`; without it a pixel of the result sees the same few neighbours however much the box shrinks. Nothing
    outside of the box is read. Bicubic may leave [0, 1]. Returns [B, *size, C].

    The kernel is separable, so this is two small matrix products for each image, where accelerators are fast.
    """
    rows = resampling_weights(top, height, x.shape[1], size[0], method, antialias)
    columns = resampling_weights(left, width, x.shape[2], size[1], method, antialias)
    return _separable(x, rows, columns)


def resized_centre(x: Array, size: tuple[int, int], fraction: float, method: str = "bilinear") -> Array:
    """Resize to where `size / fraction` is just covered, with antialias, and keep the central `size` [B, *size, C].

    For a square `size` these are torchvision's `Resize(size / fraction)` and `CenterCrop(size)`.
    """
    zoom = max(target / source for target, source in zip(size, x.shape[1:3], strict=True)) / fraction
    weights = []
    for target, source in zip(size, x.shape[1:3], strict=True):
        resized = max(target, int(source * zoom + 1e-6))
        start = round((resized - target) / 2)
        weights.append(resampling_weights(0, source, source, resized, method)[:, start : start + target])
    return _separable(x, *weights)


def resampling_weights(
    start: Array | float, length: Array | float, source: int, target: int, method: str, antialias: bool = True
) -> Array:
    """Weights [B, target, source] that resample pixels `start .. start + length` (each [B]) of an axis; rows sum to 1.

    `source` and `target` are numbers of pixels, `method` is one of `INTERPOLATIONS`.
    """
    first, width = (jnp.reshape(jnp.asarray(p, jnp.float32), (-1, 1, 1)) for p in (start, length))
    step = width / target
    centre = first + (jnp.arange(target, dtype=jnp.float32)[:, None] + 0.5) * step
    pixel = jnp.arange(source, dtype=jnp.float32) + 0.5
    spread = jnp.maximum(step, 1.0) if antialias else 1.0
    weight = _KERNELS[method](jnp.abs(pixel - centre) / spread)
    weight = jnp.where((pixel > first) & (pixel < first + width), weight, 0.0)
    return weight / jnp.sum(weight, axis=-1, keepdims=True)


def random_boxes(
    uniform: Array,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rounding: str = "nearest",
) -> tuple[Array, Array, Array, Array]:
    """Boxes (top, left, height, width), each int32 [B], as torchvision's RandomResizedCrop draws them.

    Ten tries of an area `U(scale)` of the image and a log-uniform width/height `ratio`; the first that fits is taken,
    or the largest central box of an allowed ratio if none does. `uniform` [B, BOX_DRAWS] in [0, 1) is the randomness. Sides are
    rounded to the "nearest" whole pixels as torchvision's, or "down" as by those who write `int(...)`.
    """
    area, log_ratio = uniform[:, :CROP_TRIES], uniform[:, CROP_TRIES : 2 * CROP_TRIES]
    area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = jnp.exp(low + (high - low) * log_ratio)
    whole = ROUNDINGS[rounding]
    widths = whole(jnp.sqrt(area * aspect)).astype(jnp.int32)
    heights = whole(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)

    first = fits & (jnp.cumsum(fits, axis=1) == 1)
    found = jnp.any(fits, axis=1)
    central = central_box(height, width, ratio)
    h = jnp.where(found, jnp.sum(heights * first, axis=1), central[2])
    w = jnp.where(found, jnp.sum(widths * first, axis=1), central[3])
    top = jnp.where(found, _integer_below(uniform[:, -2], height - h + 1), central[0])
    left = jnp.where(found, _integer_below(uniform[:, -1], width - w + 1), central[1])
    return top, left, h, w


def _integer_below(uniform: Array, bound: Array) -> Array:
    """Integers in [0, bound) from uniforms in [0, 1); the minimum guards the rounding of the product."""
    return jnp.minimum(jnp.floor(uniform * bound).astype(jnp.int32), bound - 1)


def _triangle(distance: Array) -> Array:
    return jnp.maximum(1.0 - distance, 0.0)


def _cubic(distance: Array) -> Array:
    near = (1.5 * distance - 2.5) * distance * distance + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return jnp.where(distance < 1.0, near, jnp.where(distance < 2.0, far, 0.0))


_KERNELS = dict(zip(INTERPOLATIONS, (_triangle, _cubic), strict=True))


def _shifted(shift: Array, length: int) -> Array:
    """One-hot weights [B, length, length] that read pixel `o - shift`, or the nearest edge."""
    pixel = jnp.arange(length)
    read = jnp.clip(pixel[None, :] - jnp.reshape(shift, (-1, 1)), 0, length - 1)
    return jax.nn.one_hot(read, length, dtype=jnp.float32)


def _separable(x: Array, rows: Array, columns: Array) -> Array:
    """`rows` [B, h, H] and `columns` [B, w, W] (or [1, ...] for all examples alike) applied to x [B, H, W, C]."""
    x = jnp.einsum("bhH,bHWC->bhWC", _for_each(rows, x), x, precision=EXACT)
    return jnp.einsum("bwW,bhWC->bhwC", _for_each(columns, x), x, precision=EXACT)


def _for_each(weights: Array, x: Array) -> Array:
    return jnp.broadcast_to(weights, (x.shape[0], *weights.shape[1:]))


# ---------------------------------------------------------------------------------------------------------------- blur


def gaussian_blur(x: Array, sigma: Array | float, kernel: int) -> Array:
    """Gaussian of standard deviation `sigma` pixels cut to `kernel` taps (odd), reflecting at the border."""
    taps = jnp.arange(kernel, dtype=jnp.float32) - kernel // 2
    sigma = jnp.reshape(jnp.asarray(sigma, jnp.float32), (-1, 1))
    weights = jax.nn.softmax(-0.5 * jnp.square(taps / sigma), axis=-1)
    return _separable(x, _banded(weights, x.shape[1]), _banded(weights, x.shape[2]))


def _banded(weights: Array, length: int) -> Array:
    """The Toeplitz matrices [B, length, length] of `weights` [B, K], with the border reflected into them."""
    kernel = weights.shape[-1]
    read = np.pad(np.arange(length), kernel // 2, mode="reflect")  # as often as a kernel wider than the image needs
    placed = np.zeros((kernel, length, length), np.float32)
    for tap in range(kernel):
        placed[tap, np.arange(length), read[tap : tap + length]] = 1.0
    return jnp.einsum("bk,koi->boi", weights, placed, precision=EXACT)
