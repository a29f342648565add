"""SpecAugment: bands of frequencies and stretches of time that are left out of a spectrogram.

Park et al. 2019, "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition", arXiv 1904.08779.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def band_mask(key: Array, size: int, length: Array | int, widest: Array | int, count: int) -> Array:
    """Bool [size]: True in `count` bands of a width drawn from 0 to `widest`, each at a place drawn within the first `length`.

    Bands may overlap. Widths are drawn as whole numbers, both ends included (section 2).
    """
    most = jnp.minimum(jnp.asarray(widest), length)
    one = jax.vmap(lambda k: _band(k, size, jnp.asarray(length), most))
    return one(jax.random.split(key, count)).any(axis=0) if count else jnp.zeros(size, bool)


def _band(key: Array, size: int, length: Array, most: Array) -> Array:
    draw_width, draw_start = jax.random.split(key)
    width = jax.random.randint(draw_width, (), 0, most + 1)
    start = jax.random.randint(draw_start, (), 0, length - width + 1)
    at = jnp.arange(size)
    return (at >= start) & (at < start + width)


def spec_augment(
    key: Array, x: Array, length: Array, frequency: tuple[int, int], time: tuple[int, int], share: float
) -> Array:
    """A spectrogram [T, F, ...] of `length` frames with zeros, which is the mean, in the masked bands.

    frequency, time: the largest width, in bands and in frames, and the number of masks. share: of the frames that a mask of
    time may have at most (p in the paper).
    """
    draw_frequency, draw_time = jax.random.split(key)
    bands = band_mask(draw_frequency, x.shape[1], x.shape[1], *frequency)
    longest = jnp.minimum(time[0], jnp.floor(share * length).astype(jnp.int32))
    frames = band_mask(draw_time, x.shape[0], length, longest, time[1])
    hidden = frames[:, None] | bands
    return jnp.where(hidden.reshape(*hidden.shape, *[1] * (x.ndim - 2)), 0, x)
