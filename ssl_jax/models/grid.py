"""Grids of patches of one to three axes: series, pictures and spectrograms, clips. Pure functions, no parameters.

A patch is one number for a square of pixels, or one size for each axis: `(16,)` steps of a series [B, T, C], `(16, 16)` of a
picture or a spectrogram [B, H, W, C], `(2, 16, 16)` of a clip [B, T, H, W, C]. Tokens are in raster order: the last axis is
the fastest.
"""

from __future__ import annotations

import math
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError

Patch = int | tuple[int, ...]
Grid = tuple[int, ...]  # patches along each axis
KINDS = {1: "series", 2: "image", 3: "clip"}  # what has so many axes


def by(sizes: tuple[int, ...]) -> str:
    """Sizes in words: 2x16x16."""
    return "x".join(map(str, sizes))


def sides(patch: Patch) -> tuple[int, ...]:
    """The size of a patch along each axis."""
    return (patch, patch) if isinstance(patch, int) else tuple(patch)


def patch_length(patch: Patch, channels: int) -> int:
    """The length of a patch vector."""
    return math.prod(sides(patch)) * channels


def grid_of(shape: tuple[int, ...], patch: Patch) -> Grid:
    """Patches along each axis of an array [..., *axes, C]. Raises UserError when `patch` does not divide a size."""
    side = sides(patch)
    size = tuple(shape[-1 - len(side) : -1])
    if len(size) != len(side):
        raise UserError(f"model.patch={patch} has {len(side)} axes; an array {by(shape)} has {len(size)} and channels")
    if any(n % p for n, p in zip(size, side, strict=True)):
        raise UserError(
            f"{KINDS[len(side)]} size {by(size)} is not divisible by the patch size {_short(side)}; "
            f"use a size of {' or '.join(map(_short, _nearest(size, side)))}, or another patch"
        )
    return tuple(n // p for n, p in zip(size, side, strict=True))


def _nearest(size: tuple[int, ...], side: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The next smaller and the next larger sizes that `side` divides."""
    pairs = list(zip(size, side, strict=True))
    smaller = tuple(max(p, n // p * p) for n, p in pairs)
    return sorted({smaller, tuple(math.ceil(n / p) * p for n, p in pairs)})


def _short(sizes: tuple[int, ...]) -> str:
    """Sizes in words; one number for a square."""
    return by(sizes[:1] if len(set(sizes)) == 1 else sizes)


def patchify(array: Array, patch: Patch) -> Array:
    """Array [B, *axes, C] -> patch vectors [B, N, patch_length].

    Inside a vector the order is that of the axes, then the channel, which is the fastest: MAE's and VideoMAE's order.
    """
    grid, side = grid_of(array.shape, patch), sides(patch)
    split = array.reshape(array.shape[0], *np.stack([grid, side], axis=1).reshape(-1), array.shape[-1])
    inside = 1 + 2 * np.arange(len(grid))
    apart = split.transpose(0, *inside, *(inside + 1), split.ndim - 1)
    return apart.reshape(array.shape[0], math.prod(grid), -1)


def unpatchify(patches: Array, patch: Patch, grid: Grid) -> Array:
    """The inverse of `patchify`: [B, N, patch_length] -> [B, *axes, C]."""
    side, axes = sides(patch), len(grid)
    apart = patches.reshape(patches.shape[0], *grid, *side, -1)
    together = apart.transpose(0, *np.arange(1, 2 * axes + 1).reshape(2, axes).T.reshape(-1), 2 * axes + 1)
    return together.reshape(patches.shape[0], *(n * p for n, p in zip(grid, side, strict=True)), -1)


def take_tokens(tokens: Array, index: Array) -> Array:
    """Rows `index` [B, K] of `tokens` [B, N, D] -> [B, K, D]."""
    return jnp.take_along_axis(tokens, index[..., None], axis=1)


def places(grid: Grid) -> np.ndarray:
    """The index of every patch along each axis, [N, axes]."""
    return np.indices(grid).reshape(len(grid), -1).T


def windows(grid: Grid, window: tuple[int, ...], shift: tuple[int, ...]) -> np.ndarray:
    """The number [N] of the window in which each patch lies; borders stand `shift` patches earlier along each axis.

    >>> windows((4, 2), (2, 2), (1, 0)).reshape(4, 2).tolist()
    [[0, 0], [1, 1], [1, 1], [2, 2]]
    """
    corner = (places(grid) + np.asarray(shift)) // np.asarray(window)
    return np.unique(corner, axis=0, return_inverse=True)[1].reshape(-1)


def centres(grid: Grid) -> np.ndarray:
    """The centre of every patch, [N, axes], on axes from -1 to 1, times 2 pi (DINOv3, arXiv 2508.10104, section 3.2)."""
    return 2 * np.pi * ((2 * places(grid) + 1) / np.asarray(grid) - 1)


def sinusoid(width: int, position: np.ndarray) -> np.ndarray:
    """Fixed code [len(position), width]: sines then cosines of position * 10000^(-2k/width) (Vaswani et al. 2017)."""
    frequency = 10000.0 ** (-np.arange(width // 2) / (width / 2))
    angle = np.asarray(position, np.float64)[:, None] * frequency
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def sincos(width: int, grid: Grid) -> np.ndarray:
    """Fixed table [N, width]: the codes of all axes side by side, as wide as each other.

    Of a picture the COLUMN code comes first, as in MAE's and I-JEPA's checkpoints; of a clip time, row, column, and the last
    code is cut where three do not fit, as in V-JEPA's.
    """
    require_whole_codes("sin-cos positions need a width", width, len(grid))
    part = 2 * math.ceil(width / (2 * len(grid)))
    place, order = places(grid), (1, 0) if len(grid) == 2 else range(len(grid))
    return np.concatenate([sinusoid(part, place[:, axis]) for axis in order], axis=1)[:, :width]


def sequence(width: int, grid: Grid) -> np.ndarray:
    """Fixed table [N, width] over the place in the sequence of patches; sines and cosines take turns (VideoMAE)."""
    require_whole_codes("positions in a sequence need a width", width, 1)
    code = sinusoid(width, np.arange(math.prod(grid)))
    return np.stack(np.split(code, 2, axis=1), axis=-1).reshape(code.shape)


TABLES = {"sincos": sincos, "sequence": sequence}


def rope(
    head_width: int, place: np.ndarray, base: float, rescale: Array | float = 1.0, tiled: bool = False
) -> tuple[Array, Array]:
    """Axial rotary table (cos, sin), each [N, head_width], of patches at `place` [N, axes].

    An axis has k = head_width // (2 axes) angles, `x / base^(i / k)` for i < k. Half of the table holds those of the first
    axis, then those of the next, then zeros for what is not turned; the other half is the same. `tiled` is the slip in
    V-JEPA 2's code that its checkpoints need: it pairs numbers 2i and 2i + 1 of an axis but turns number j by angle j mod k, so
    that a pair has two angles. Here the first halves hold the even numbers, the second the odd ones.
    """
    axes = place.shape[1]
    require_whole_codes("rotary positions need a head width", head_width, axes)
    pairs = head_width // (2 * axes)
    angle = place[:, :, None] / base ** (np.arange(pairs) / pairs)
    first = np.arange(pairs) * (2 if tiled else 1)
    still = np.zeros((len(place), head_width // 2 - axes * pairs))
    halves = [angle[:, :, index % pairs].reshape(len(place), -1) for index in (first, first + tiled)]
    turned = np.concatenate([part for half in halves for part in (half, still)], axis=1) * rescale
    return jnp.cos(turned), jnp.sin(turned)


def require_whole_codes(need: str, width: int, axes: int) -> None:
    """Raises UserError where a width does not hold a sine and a cosine for each axis of a series or a picture.

    Three axes do not divide the widths in use: there the last code is cut, or some numbers of a head stay as they are.
    """
    divisor = 2 * axes if axes < 3 else 2
    if width % divisor or width < 2 * axes:
        raise UserError(f"{need} divisible by {divisor}, got {width}; change width or heads")


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


def resize_tokens(tokens: Array, grid: Grid, target: Grid, offset: float = 0.0) -> Array:
    """Tokens [..., N, D] of `grid`, resampled to `target` with `bicubic_matrix` along every axis."""
    if grid == target:
        return tokens
    old, new = "abc"[: len(grid)], "ijk"[: len(grid)]
    terms = ",".join(map("".join, zip(new, old, strict=True)))
    matrices = (jnp.asarray(bicubic_matrix(t, g, offset), tokens.dtype) for t, g in zip(target, grid, strict=True))
    map_ = tokens.reshape(*tokens.shape[:-2], *grid, tokens.shape[-1])
    out = jnp.einsum(f"{terms},...{old}d->...{new}d", *matrices, map_)
    return out.reshape(*tokens.shape[:-2], -1, tokens.shape[-1])


def cell_means(tokens: Array, grid: Grid, cells: int | tuple[int, ...]) -> Array:
    """Means of tokens [B, N, D] over `cells` parts of each axis of the grid, side by side -> [B, parts * D].

    Row r of R belongs to part `r * cells // R`. The means are float32 or wider. Raises UserError for more parts than rows.
    """
    parts = (cells,) * len(grid) if isinstance(cells, int) else tuple(cells)
    if len(parts) != len(grid) or not all(1 <= c <= n for c, n in zip(parts, grid, strict=True)):
        raise UserError(f"model.cells={cells} does not fit {by(grid)} patches; use 1 to {min(grid)}")
    part = np.ravel_multi_index((places(grid) * parts // np.asarray(grid)).T, parts)
    member = part == np.arange(math.prod(parts))[:, None]
    weights = member / member.sum(axis=1, keepdims=True)
    kind = wide(tokens.dtype)
    means = jnp.einsum("cn,bnd->bcd", jnp.asarray(weights, kind), tokens.astype(kind))
    return means.reshape(means.shape[0], -1)
