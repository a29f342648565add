"""What is done to waves on the device: cut, rolled, made louder, mixed, given noise and echo. Functions of one clip.

A clip is `wave` float32 [T] or [T, C] and `valid` bool [T], True up to its end; what is behind that is padding, and stays zero.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.fourier import irfft, rfft

Range = tuple[float, float]


class Clip(NamedTuple):
    """A wave and which of its samples are recorded."""

    wave: Array
    valid: Array

    @property
    def length(self) -> Array:
        """How many samples are recorded."""
        return self.valid.sum()


def clips(batch: dict) -> Clip:
    """`wave` [B, T, ...] of a batch as floats, and `valid` [B, T]; all of it, where the batch has no such field."""
    wave = jnp.asarray(batch["wave"])
    wave = wave.astype(jnp.float32) / (32768 if wave.dtype == jnp.int16 else 1)
    valid = batch.get("valid")
    return Clip(wave, jnp.ones(wave.shape[:2], bool) if valid is None else jnp.asarray(valid).astype(bool))


def cut(clip: Clip, start: Array, size: int) -> Clip:
    """The `size` samples from `start` on; zeros, not valid, where there are none."""
    at = start + jnp.arange(size)
    there = at < len(clip.valid)
    at = jnp.minimum(at, len(clip.valid) - 1)
    return silenced(Clip(clip.wave[at], clip.valid[at] & there))


def silenced(clip: Clip) -> Clip:
    """The clip with zeros where it is not valid."""
    return Clip(jnp.where(_over(clip.valid, clip.wave), clip.wave, 0), clip.valid)


def random_cut(key: Array, clip: Clip, size: int) -> Clip:
    """`size` samples from a random place, inside the recorded part as far as that is long enough."""
    room = jnp.maximum(clip.length - size, 0)
    return cut(clip, jax.random.randint(key, (), 0, room + 1), size)


def central_cut(clip: Clip, size: int) -> Clip:
    """The `size` samples in the middle of the recorded part."""
    return cut(clip, jnp.maximum(clip.length - size, 0) // 2, size)


def gained(key: Array, clip: Clip, decibels: Range) -> Clip:
    """Louder by a number of decibels drawn between the two."""
    return Clip(
        clip.wave * 10 ** (jax.random.uniform(key, (), minval=decibels[0], maxval=decibels[1]) / 20), clip.valid
    )


def rolled(key: Array, clip: Clip) -> Clip:
    """Later by a drawn number of samples; what leaves at the end of the recorded part comes back at its start."""
    length = jnp.maximum(clip.length, 1)
    at = jnp.arange(len(clip.valid))
    turned = (at - jax.random.randint(key, (), 0, length)) % length
    return Clip(clip.wave[jnp.where(clip.valid, turned, at)], clip.valid)


def with_noise(key: Array, clip: Clip, snr: Range) -> Clip:
    """Normal noise, a drawn number of decibels below the power of the recorded part."""
    level, draw = jax.random.split(key)
    below = jax.random.uniform(level, (), minval=snr[0], maxval=snr[1])
    noise = jax.random.normal(draw, clip.wave.shape, clip.wave.dtype)
    return silenced(Clip(clip.wave + noise * jnp.sqrt(power(clip) * 10 ** (-below / 10)), clip.valid))


def reverberated(key: Array, clip: Clip, responses: Array) -> Clip:
    """Convolved with one of the impulse `responses` [K, L], each of energy 1, and cut where the clip ended."""
    response = responses[jax.random.randint(key, (), 0, len(responses))]
    size = 1 << (len(clip.valid) + len(response) - 2).bit_length()
    spectrum = rfft(clip.wave.T, size) * rfft(response, size)
    return silenced(Clip(irfft(spectrum, size).T[: len(clip.valid)], clip.valid))


def mixed(key: Array, clip: Clip, other: Clip, most: float) -> Clip:
    """With a share of another clip, drawn from 0 to `most` and the rest its own; valid where it was itself."""
    share = jax.random.uniform(key, (), maxval=most)
    return silenced(Clip((1 - share) * clip.wave + share * other.wave, clip.valid))


def partners(keys: Array) -> Array:
    """For each of B examples the row of another: a drawn number of rows after its own, in a circle.

    So a partner depends on the key and on who follows in the batch, and neither on the row's number nor on any device.
    """
    rows = len(keys)
    steps = jax.vmap(lambda key: jax.random.randint(key, (), 1, max(rows, 2)))(keys)
    return (jnp.arange(rows) + steps) % rows


def power(clip: Clip) -> Array:
    """Mean square of the recorded part; 0 without one."""
    channels = clip.wave.size // len(clip.valid)
    return jnp.sum(jnp.square(silenced(clip).wave)) / jnp.maximum(clip.length * channels, 1)


def _over(places: Array, wave: Array) -> Array:
    """`places` [T] with as many axes as the wave has."""
    return places.reshape(len(places), *[1] * (wave.ndim - 1))
