"""Masks of single tokens from given noise, with static shapes."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError


def random_keep(noise: Array, mask_ratio: float) -> tuple[Array, Array, Array]:
    """MAE's random masking: keep the `int(N * (1 - mask_ratio))` tokens with the smallest noise.

    Args:
        noise: [B, N].
        mask_ratio: share of tokens to remove.

    Returns:
        keep [B, K] indices in order of their noise, restore [B, N] (argsort of the shuffle), mask [B, N] float, 1 where
        removed. Sorts are stable.
    """
    count = noise.shape[1]
    kept = int(count * (1 - mask_ratio))
    if not 0 < kept < count:
        raise UserError(
            f"mask_ratio={mask_ratio} keeps {kept} of {count} patches; at least one must be kept and one removed"
        )
    shuffle = jnp.argsort(noise, axis=1, stable=True)
    restore = jnp.argsort(shuffle, axis=1, stable=True)
    return shuffle[:, :kept], restore, (restore >= kept).astype(jnp.float32)


def tube_keep(noise: Array, frames: int, mask_ratio: float) -> tuple[Array, Array, Array]:
    """VideoMAE's tubes: `random_keep` of the patches of one frame, and the same ones in all `frames` of a clip.

    `noise` is [B, N] for one frame. Returns what `random_keep` does, for the frames x N patches; kept ones are in raster order.
    """
    kept, _, mask = random_keep(noise, mask_ratio)
    return _in_raster_order(jnp.tile(mask, (1, frames)), frames * kept.shape[1])


def frame_keep(noise: Array, patches: int, mask_ratio: float) -> tuple[Array, Array, Array]:
    """VideoMAE's masking of frames: `random_keep` of the frames of a clip, with all `patches` of those that are kept.

    `noise` is [B, T], a number for each frame. Returns what `tube_keep` does.
    """
    kept, _, mask = random_keep(noise, mask_ratio)
    return _in_raster_order(jnp.repeat(mask, patches, axis=1), patches * kept.shape[1])


def _in_raster_order(mask: Array, count: int) -> tuple[Array, Array, Array]:
    """What `random_keep` returns for a `mask` [B, N] that leaves `count` patches of every row, these in raster order."""
    shuffle = jnp.argsort(mask, axis=1, stable=True)
    restore = jnp.argsort(shuffle, axis=1, stable=True)
    return shuffle[:, :count], restore, mask
