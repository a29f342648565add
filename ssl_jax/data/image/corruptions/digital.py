"""What processing does. After ImageNet-C, with its levels; lengths in 224ths of the shorter side.

Fidelity: `elastic_transform` has levels of its own, a smooth field of growing size, since the original's first two severities
move the picture as a whole and farther than its last; `pixelate` gives each pixel to one block instead of parts of it to two;
`jpeg_compression` quantises on the device, without the entropy coder, which changes nothing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.image import ops
from ssl_jax.data.image.corruptions.common import each, level, pixels, places, sampled
from ssl_jax.data.image.ops import EXACT, unit

_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)  # share of the rows and columns that are left
_JPEG = (25.0, 18.0, 15.0, 10.0, 7.0)  # quality
_ELASTIC = (1.5, 2.5, 4.0, 6.0, 9.0)  # root mean square of how far a pixel moves
_SMOOTH = 8.0  # standard deviation that its field is smoothed by

# ITU-T T.81, annex K.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
    ], np.float32,
)  # fmt: skip
_CHROMINANCE = np.full((8, 8), 99, np.float32)
_CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)  # JFIF
_COSINES = np.cos((2 * np.arange(8) + 1) * np.arange(8)[:, None] * np.pi / 16) / 2
_COSINES[0] /= np.sqrt(2)


def contrast(x: Array, keys: Array, severity: Array | int) -> Array:
    """Every channel moves towards its mean."""
    mean = x.mean(axis=(1, 2), keepdims=True)
    return unit(mean + level(_CONTRAST, severity) * (x - mean))


def elastic_transform(x: Array, keys: Array, severity: Array | int) -> Array:
    """Pixels move by a smooth random field."""
    sigma = pixels(x, _SMOOTH)
    raw = each(lambda key: jax.random.normal(key, (*x.shape[1:3], 2)), keys)
    smooth = ops.gaussian_blur(raw, sigma, 2 * int(3 * sigma + 1) + 1)
    field = smooth / jnp.sqrt(jnp.mean(jnp.square(smooth), axis=(1, 2), keepdims=True) + 1e-12)
    moved = pixels(x, level(_ELASTIC, severity)) * field
    rows, columns = places(x)
    return sampled(x, rows + moved[..., 0], columns + moved[..., 1])


def pixelate(x: Array, keys: Array, severity: Array | int) -> Array:
    """Blocks of one colour each."""
    share = level(_PIXELATE, severity)
    rows, columns = (_blocks(size, jnp.floor(size * share)) for size in x.shape[1:3])
    return jnp.einsum("hH,bHWC,wW->bhwC", rows, x, columns, precision=EXACT)


def jpeg_compression(x: Array, keys: Array, severity: Array | int) -> Array:
    """What JPEG of low quality leaves: colours at half the resolution, blocks of 8 x 8 cosines, rounded."""
    return jpeg(x, level(_JPEG, severity))


def jpeg(x: Array, quality: Array | float) -> Array:
    """x [B, H, W, C] after JPEG of a `quality` in [1, 100], with 4:2:0 for 3 channels; others are each taken as brightness."""
    bright, colour = (_steps(table, quality) for table in (_LUMINANCE, _CHROMINANCE))
    levels = 255 * _padded(x)
    if x.shape[-1] != 3:
        return _cut(_coded(levels - 128, bright) + 128, x)
    y, chroma = jnp.split(jnp.einsum("bhwc,kc->bhwk", levels, _YCBCR, precision=EXACT), [1], axis=-1)
    half = chroma.reshape(len(x), chroma.shape[1] // 2, 2, chroma.shape[2] // 2, 2, 2).mean(axis=(2, 4))
    full = jax.image.resize(_coded(half, colour), chroma.shape, "linear")
    mixed = jnp.concatenate([_coded(y - 128, bright) + 128, full], axis=-1)
    return _cut(jnp.einsum("bhwk,ck->bhwc", mixed, np.linalg.inv(_YCBCR), precision=EXACT), x)


def _steps(table: np.ndarray, quality: Array | float) -> Array:
    """Sizes of the quantiser's steps [8, 8], as libjpeg scales them."""
    quality = jnp.asarray(quality, jnp.float32)
    scale = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
    return jnp.clip(jnp.floor((table * scale + 50) / 100), 1, 255)


def _coded(x: Array, steps: Array) -> Array:
    """Numbers around 0 [B, H, W, K], H and W multiples of 8, through rounded cosines."""
    batch, height, width, count = x.shape
    blocks = x.reshape(batch, height // 8, 8, width // 8, 8, count)
    waves = jnp.einsum("ui,vj,bhiwjk->bhuwvk", _COSINES, _COSINES, blocks, precision=EXACT)
    steps = steps[:, None, :, None]
    kept = jnp.round(waves / steps) * steps
    return jnp.einsum("ui,vj,bhuwvk->bhiwjk", _COSINES, _COSINES, kept, precision=EXACT).reshape(x.shape)


def _padded(x: Array) -> Array:
    """With the last row and column repeated, to multiples of 16."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % 16), (0, -x.shape[2] % 16), (0, 0)), mode="edge")


def _cut(levels: Array, like: Array) -> Array:
    return unit(jnp.round(levels[:, : like.shape[1], : like.shape[2]]) / 255).astype(like.dtype)


def _blocks(size: int, count: Array) -> Array:
    """Weights [size, size] that give every pixel the mean of its block, of `count` blocks."""
    block = jnp.floor((jnp.arange(size) + 0.5) * count / size)
    same = (block[:, None] == block).astype(jnp.float32)
    return same / same.sum(axis=1, keepdims=True)
