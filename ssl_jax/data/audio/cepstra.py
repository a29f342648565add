"""Cepstra: cosines of log energies, and how they move in time."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array


def cepstra(energies: Array, count: int, lifter: float = 22.0) -> Array:
    """The first `count` cosines [..., C] of log energies [..., F] as Kaldi has them (MFCCs).

    An orthonormal DCT-II; cosine k is then 1 + L / 2 sin(pi k / L) times as large, for a `lifter` of L; 0: none.
    """
    bands, k = energies.shape[-1], np.arange(count)[:, None]
    basis = np.sqrt(2 / bands) * np.cos(np.pi * k * (np.arange(bands) + 0.5) / bands)
    basis[0] /= np.sqrt(2)
    weights = 1 + lifter / 2 * np.sin(np.pi * k / lifter) if lifter else 1.0
    return energies @ jnp.asarray((basis * weights).T, energies.dtype)


def slopes(x: Array) -> Array:
    """How each number of [..., N, C] moves at a frame: the slope over five frames by least squares, the ends repeated."""
    ends = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(2, 2), (0, 0)], mode="edge")
    count = x.shape[-2]
    at = lambda n: ends[..., 2 + n : 2 + n + count, :]  # noqa: E731
    return (at(1) - at(-1) + 2 * (at(2) - at(-2))) / 10


def with_slopes(x: Array) -> Array:
    """[..., N, C] -> [..., N, 3 C]: the numbers, their slopes, and the slopes of these."""
    first = slopes(x)
    return jnp.concatenate([x, first, slopes(first)], axis=-1)
