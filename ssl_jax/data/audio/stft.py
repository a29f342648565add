"""Short-time Fourier transforms on the device, and a change of tempo that keeps pitches (phase vocoder)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.fourier import irfft, rfft


def frame_count(length: int, size: int, hop: int) -> int:
    """How many whole frames of `size` samples lie in `length`, one each `hop`; 0 where it is too short."""
    return max(0, 1 + (length - size) // hop)


def frames(wave: Array, size: int, hop: int) -> Array:
    """Stretches [..., N, size] of a wave [..., T], one each `hop` samples; those that are whole."""
    starts = hop * np.arange(frame_count(wave.shape[-1], size, hop))
    return wave[..., starts[:, None] + np.arange(size)]


def conditioned(x: Array, dc: float, preemphasis: float) -> Array:
    """Frames [..., size] less `dc` of their mean, and each sample less `preemphasis` of the one before (the first of itself)."""
    x = x - dc * x.mean(axis=-1, keepdims=True)
    before = jnp.concatenate([x[..., :1], x[..., :-1]], axis=-1)
    return x - preemphasis * before


@functools.cache
def hann(size: int, periodic: bool) -> np.ndarray:
    """A raised cosine float32 [size]: zero at both ends, or (`periodic`) at the start and right behind the end."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - (not periodic)))).astype(np.float32)


def stretched(transform: Array, rate: Array, hop: int, size: int) -> Array:
    """Phase vocoder: complex frames [N, K] played `rate` times as fast, in as many frames; behind the end they are zero.

    Frame n is what was at n * rate: magnitudes are interpolated, and phases go on by what a hop advances each frequency
    plus what that of the recording deviates from it (J. Flanagan, R. Golden 1966; M. Dolson 1986). Rate 1 changes nothing.
    """
    count, bins = transform.shape
    at = jnp.arange(count) * rate
    first = jnp.minimum(jnp.floor(at).astype(jnp.int32), count - 1)
    part = (at - first)[:, None]
    padded = jnp.concatenate([transform, transform[-1:]])
    left, right = padded[first], padded[first + 1]
    magnitude = (1 - part) * jnp.abs(left) + part * jnp.abs(right)
    advance = 2 * jnp.pi * (hop * jnp.arange(bins) % size) / size  # less whole turns, which would cost digits
    step = _wrapped(advance + _wrapped(jnp.angle(right) - jnp.angle(left) - advance))
    phase = jnp.angle(transform[0]) + jnp.concatenate([jnp.zeros((1, bins)), jnp.cumsum(step, axis=0)[:-1]])
    return jnp.where((at <= count - 1)[:, None], magnitude * jnp.exp(1j * phase), 0)


def interpolated(x: Array, rate: Array) -> Array:
    """Frames [N, F] of anything real played `rate` times as fast, each between its two neighbours; behind the end the last one.

    The cheap stand-in for `stretched`, on log energies. Rate 1 gives what it was given.
    """
    at = jnp.minimum(jnp.arange(len(x)) * rate, len(x) - 1)
    first = jnp.floor(at).astype(jnp.int32)
    part = (at - first)[:, None]
    return (1 - part) * x[first] + part * x[jnp.minimum(first + 1, len(x) - 1)]


def resynthesised(transform: Array, window: np.ndarray, hop: int, length: int) -> Array:
    """The wave [length] whose windowed frames are nearest to a transform [N, K] (least squares; D. Griffin, J. Lim 1984)."""
    pieces = irfft(transform, 2 * (transform.shape[-1] - 1))[:, : len(window)] * window
    at = (hop * np.arange(len(transform)))[:, None] + np.arange(len(window))
    add = lambda values: jnp.zeros(length).at[at].add(values)  # noqa: E731
    return add(pieces) / jnp.maximum(add(jnp.broadcast_to(jnp.square(window), at.shape)), 1e-8)


def _wrapped(angle: Array) -> Array:
    return jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi


def transformed(x: Array, window: np.ndarray, size: int) -> Array:
    """Complex spectra [..., size / 2 + 1] of frames [..., L] under a window [L], padded to `size`."""
    return rfft(x * window, size)


def rate_of(key: Array, low: float, high: float) -> Array:
    """A rate between the two, as often below its middle on a scale of ratios as above."""
    return jnp.exp(jax.random.uniform(key, (), minval=np.log(low), maxval=np.log(high)))
