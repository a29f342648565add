"""Histograms of oriented gradients: what MaskFeat predicts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

SOBEL = np.asarray([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])


def hog(image: Array, cell: int, bins: int = 9) -> Array:
    """Images [B, H, W, C] -> histograms [B, H / cell, W / cell, C * bins] of unsigned directions, each of length 1 or 0.

    Dalal, Triggs 2005, as Wei et al. 2021, arXiv 2112.09133, section 3.2, have it: Sobel gradients of every channel on reflected
    edges; a pixel votes with its gradient's length for the bin of its direction, without sharing it between neighbours; each
    channel's histogram of a cell is divided by its length.
    """
    across, down = gradients(image)
    length, direction = jnp.hypot(across, down), jnp.arctan2(across, down)
    bin_of = jnp.floor(direction / jnp.pi * bins).astype(jnp.int32) % bins
    votes = jax.nn.one_hot(bin_of, bins, dtype=image.dtype) * length[..., None]
    rows, columns, channels = (n // d for n, d in zip(image.shape[1:], (cell, cell, 1), strict=True))
    cells = votes.reshape(len(image), rows, cell, columns, cell, channels, bins).sum((2, 4))
    normed = cells / jnp.maximum(jnp.linalg.norm(cells, axis=-1, keepdims=True), 1e-12)
    return normed.reshape(*normed.shape[:3], -1)


def gradients(image: Array) -> tuple[Array, Array]:
    """Sobel differences [B, H, W, C] along columns and along rows, with edges reflected."""
    around = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    height, width = image.shape[1:3]

    def filtered(kernel: np.ndarray) -> Array:
        places = [(i, j) for i in range(3) for j in range(3) if kernel[i, j]]
        return sum((kernel[i, j] * around[:, i : i + height, j : j + width] for i, j in places), jnp.zeros_like(image))

    return filtered(SOBEL), filtered(SOBEL.T)
