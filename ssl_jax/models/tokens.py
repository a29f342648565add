"""Images as token sequences: patches and fixed position tables. Pure functions, no parameters."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import Array

from ssl_jax.errors import UserError


def grid_of(image_shape: tuple[int, ...], patch: int) -> tuple[int, int]:
    """Rows and columns of patches in an image [..., H, W, C]. Raises UserError when `patch` does not divide a side."""
    height, width = image_shape[-3], image_shape[-2]
    for side in (height, width):
        if side % patch:
            near = sorted({max(patch, side // patch * patch), (side // patch + 1) * patch})
            raise UserError(
                f"image size {height}x{width} is not divisible by the patch size {patch}; "
                f"use a size of {' or '.join(map(str, near))}, or another patch"
            )
    return height // patch, width // patch


def patchify(image: Array, patch: int) -> Array:
    """Image [B, H, W, C] -> patch vectors [B, N, p*p*C], tokens in raster order.

    Inside a vector the order is (row in patch, column in patch, channel), channel fastest: MAE's order.
    """
    grid_of(image.shape, patch)
    return rearrange(image, "b (h p) (w q) c -> b (h w) (p q c)", p=patch, q=patch)


def unpatchify(patches: Array, patch: int, grid: tuple[int, int]) -> Array:
    """The inverse of `patchify`: [B, N, p*p*C] -> [B, H, W, C]."""
    return rearrange(patches, "b (h w) (p q c) -> b (h p) (w q) c", h=grid[0], w=grid[1], p=patch, q=patch)


def take_tokens(tokens: Array, index: Array) -> Array:
    """Rows `index` [B, K] of `tokens` [B, N, D] -> [B, K, D]."""
    return jnp.take_along_axis(tokens, index[..., None], axis=1)


def sincos_1d(width: int, position: np.ndarray) -> np.ndarray:
    """Fixed code [len(position), width]: sines then cosines of position * 10000^(-2k/width) (Vaswani et al. 2017)."""
    frequency = 10000.0 ** (-np.arange(width // 2) / (width / 2))
    angle = np.asarray(position, np.float64)[:, None] * frequency
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def sincos_2d(width: int, grid: tuple[int, int]) -> np.ndarray:
    """Fixed table [rows*columns, width]; the COLUMN code fills the first half, as in MAE's and I-JEPA's checkpoints."""
    if width % 4:
        raise UserError(f"sin-cos positions need a width divisible by 4, got {width}")
    row, column = np.meshgrid(np.arange(grid[0]), np.arange(grid[1]), indexing="ij")
    halves = [sincos_1d(width // 2, axis.reshape(-1)) for axis in (column, row)]
    return np.concatenate(halves, axis=1)
