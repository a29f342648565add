"""Two examples become one, and so do their targets: mixup and CutMix."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Mixed(NamedTuple):
    """Images [B, H, W, C] and targets [B, K] after mixing."""

    images: Array
    targets: Array


def mixup(key: Array, images: Array, targets: Array, alpha: float) -> Mixed:
    """`l x + (1 - l) x'` with one l from Beta(alpha, alpha) (Zhang, Cisse, Dauphin, Lopez-Paz 2017, arXiv 1710.09412, eq. 1).

    The partner x' of a row is the row at the same distance from the other end of the batch.
    """
    share = jax.random.beta(key, alpha, alpha)
    return Mixed(_blend(share, images), _blend(share, targets))


def cutmix(key: Array, images: Array, targets: Array, alpha: float) -> Mixed:
    """A box of the partner's image, of an area 1 - l, l from Beta(alpha, alpha), is pasted at the same place (Yun et al. 2019,
    arXiv 1905.04899, eq. 1-2). Targets are mixed by the area that is left after the box was cut off at the border.
    """
    key_share, key_y, key_x = jax.random.split(key, 3)
    height, width = images.shape[1:3]
    side = jnp.sqrt(1 - jax.random.beta(key_share, alpha, alpha))
    rows, columns = _inside(key_y, side, height), _inside(key_x, side, width)
    box = rows[:, None] & columns
    mixed = jnp.where(box[None, :, :, None], images[::-1], images)
    return Mixed(mixed, _blend(1 - box.mean(), targets))


def _inside(key: Array, side: Array, length: int) -> Array:
    """Bool [length]: a stretch of the fraction `side` round a random place."""
    centre, half = jnp.floor(jax.random.uniform(key) * length), jnp.floor(side * length) / 2
    return jnp.abs(jnp.arange(length) + 0.5 - centre) < half


def _blend(share: Array, x: Array) -> Array:
    share = share.astype(x.dtype)
    return share * x + (1 - share) * x[::-1]
