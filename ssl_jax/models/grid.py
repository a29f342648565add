"""Images as token sequences: patches and fixed position tables. Pure functions, no parameters."""

from __future__ import annotations

from functools import cache

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import Array

from ssl_jax.devices.precision import wide
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


def rope_2d(head_width: int, grid: tuple[int, int], base: float, rescale: Array | float = 1.0) -> tuple[Array, Array]:
    """Axial rotary table (cos, sin), each [rows*columns, head_width] (DINOv3, arXiv 2508.10104, section 3.2).

    Patch centres lie in [-1, 1] on both axes, times `rescale`; angles are `2 pi x / base^(4i / d)` for i < d/4, those of
    the row first, then those of the column, and all of them once more for the second half.
    """
    if head_width % 4:
        raise UserError(f"rotary positions need a head width divisible by 4, got {head_width}; change width or heads")
    axes = [(2 * np.arange(n) + 1) / n - 1 for n in grid]
    place = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    period = base ** (4 * np.arange(head_width // 4) / head_width)
    angle = np.tile((2 * np.pi * place[:, :, None] / period).reshape(len(place), -1), 2) * rescale
    return jnp.cos(angle), jnp.sin(angle)


@cache
def bicubic_matrix(size: int, source: int, offset: float = 0.0) -> np.ndarray:
    """[size, source]: bicubic resampling of `source` points to `size`, as torch does without antialias (a = -0.75).

    Point i reads at `(i + 1/2) * source / (size + offset) - 1/2` from four neighbours; those outside repeat the edge.
    """
    at = (np.arange(size) + 0.5) * source / (size + offset) - 0.5
    neighbours = np.floor(at).astype(int)[:, None] + np.arange(-1, 3)
    distance = np.abs(at[:, None] - neighbours)
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    weight = np.where(distance <= 1, near, far)
    matrix = np.zeros((size, source))
    np.add.at(matrix, (np.arange(size)[:, None], np.clip(neighbours, 0, source - 1)), weight)
    return matrix


def resize_tokens(tokens: Array, grid: tuple[int, int], target: tuple[int, int], offset: float = 0.0) -> Array:
    """Tokens [..., rows*columns, D] of `grid`, resampled to `target` with `bicubic_matrix` along both axes."""
    if grid == target:
        return tokens
    rows, columns = (jnp.asarray(bicubic_matrix(t, g, offset), tokens.dtype) for t, g in zip(target, grid, strict=True))
    map_ = tokens.reshape(*tokens.shape[:-2], *grid, tokens.shape[-1])
    out = jnp.einsum("ir,jc,...rcd->...ijd", rows, columns, map_)
    return out.reshape(*tokens.shape[:-2], -1, tokens.shape[-1])


def cell_means(tokens: Array, grid: tuple[int, int], cells: int) -> Array:
    """Means of patch tokens [B, N, D] over `cells` x `cells` parts of the grid, side by side -> [B, cells * cells * D].

    Row r of R belongs to part `r * cells // R`. The means are float32 or wider. Raises UserError for more parts than rows.
    """
    if not 1 <= cells <= min(grid):
        raise UserError(f"model.cells={cells} does not fit {grid[0]}x{grid[1]} patches; use 1 to {min(grid)}")
    row, column = (np.arange(side) * cells // side for side in grid)
    part = (row[:, None] * cells + column[None]).reshape(-1)
    member = part == np.arange(cells * cells)[:, None]
    weights = member / member.sum(axis=1, keepdims=True)
    kind = wide(tokens.dtype)
    means = jnp.einsum("cn,bnd->bcd", jnp.asarray(weights, kind), tokens.astype(kind))
    return means.reshape(means.shape[0], -1)
