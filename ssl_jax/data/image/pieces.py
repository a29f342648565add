"""Pieces of images for spatial pretexts: square cuts at drawn places, orders of nine tiles, dropped colours."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.errors import UserError

TILES = 9  # of a 3 x 3 grid, row by row
FIRST = 308_674  # where the search for orders starts: a fixed draw among the 9! orders in lexicographic order


def cut(image: Array, corners: Array, size: int) -> Array:
    """Squares of `size` pixels of image [H, W, C] at the `corners` [P, 2] (row, column) -> [P, size, size, C]."""
    take = lambda c: jax.lax.dynamic_slice(image, (c[0], c[1], 0), (size, size, image.shape[-1]))  # noqa: E731
    return jax.vmap(take)(corners)


def jittered_tiles(key: Array, image: Array, tile: int) -> Array:
    """One square of `tile` pixels at a uniformly random place in each of the 3 x 3 cells of image [H, W, C] -> [9, ...]."""
    cell = min(image.shape[:2]) // 3
    if tile > cell or tile < 1:
        raise UserError(
            f"objective.tile={tile} does not fit a cell of {cell} pixels, a third of the view; "
            f"use a tile of 1 to {cell}, or a larger augment.size"
        )
    corners = np.stack(np.meshgrid(*[cell * np.arange(3)] * 2, indexing="ij"), axis=-1).reshape(TILES, 2)
    return cut(image, jax.random.randint(key, (TILES, 2), 0, cell - tile + 1) + corners, tile)


def standardized_tiles(tiles: Array, epsilon: float = 1e-5) -> Array:
    """Tiles [..., t, t, C] with mean 0 and standard deviation 1 of every channel of each tile."""
    mean, var = (f(tiles, axis=(-3, -2), keepdims=True) for f in (jnp.mean, jnp.var))
    return (tiles - mean) * jax.lax.rsqrt(var + epsilon)


@functools.cache
def distant_orders(count: int, first: int = FIRST) -> np.ndarray:
    """`count` orders of nine tiles, far from each other in Hamming distance, int8 [count, 9], read-only.

    Greedy (Noroozi & Favaro 2016, arXiv 1603.09246, section 4.2): the next order is the one whose smallest distance to
    those chosen is largest; among equals, the lexicographically first. Starts at the `first` order in lexicographic order.
    About 2 ms for each order.
    """
    every = np.array(list(itertools.permutations(range(TILES))), np.int8)
    if not 1 <= count <= len(every):
        raise UserError(f"objective.permutations={count}: there are {len(every)} orders of nine tiles; use 1 to 2000")
    by_place = np.ascontiguousarray(every.T)
    chosen, nearest = [first], np.full(len(every), TILES + 1, np.int8)
    while len(chosen) < count:
        distance = np.sum(by_place != by_place[:, chosen[-1], None], axis=0, dtype=np.int8)
        nearest = np.minimum(nearest, distance)
        chosen.append(int(nearest.argmax()))
    orders = every[chosen]
    orders.flags.writeable = False
    return orders


def pair_corners(key: Array, shape: tuple[int, ...], patch: int, gap: int, jitter: int) -> tuple[Array, Array]:
    """Corners [2, 2] of a patch and of one of its 8 neighbours in an image of `shape`, and which it is (0 to 7).

    Neighbours are `gap` pixels away, counted row by row without the patch between them. The pair lies anywhere in the image;
    then both patches move by up to `jitter` pixels.
    """
    needed = 2 * patch + gap + 2 * jitter
    if min(shape[:2]) < needed:
        raise UserError(
            f"patch={patch}, gap={gap} and jitter={jitter} need views of {needed} pixels, these have {shape[:2]}; "
            f"use a patch of at most {max((min(shape[:2]) - gap - 2 * jitter) // 2, 0)}, or a larger augment.size"
        )
    key_label, key_place, key_shift = jax.random.split(key, 3)
    label = jax.random.randint(key_label, (), 0, 8)
    place = label + (label >= 4)
    step = jnp.stack([place // 3 - 1, place % 3 - 1]) * (patch + gap)
    first = jnp.maximum(-step, 0) + jitter
    last = jnp.array(shape[:2]) - patch - jnp.maximum(step, 0) - jitter
    corner = jax.random.randint(key_place, (2,), first, last + 1)
    shift = jax.random.randint(key_shift, (2, 2), -jitter, jitter + 1)
    return jnp.stack([corner, corner + step]) + shift, label


def dropped_colours(key: Array, patches: Array, noise: float = 0.01) -> Array:
    """One random channel of each patch [P, t, t, 3] is kept; the others become noise of `noise` times its deviation."""
    key_channel, key_noise = jax.random.split(key)
    kept = jax.random.randint(key_channel, (patches.shape[0], 1, 1, 1), 0, 3)
    channel = jnp.take_along_axis(patches, kept, axis=-1)
    drawn = noise * channel.std(axis=(1, 2), keepdims=True) * jax.random.normal(key_noise, patches.shape)
    return jnp.where(jnp.arange(3) == kept, patches, drawn)
