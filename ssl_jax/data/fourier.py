"""Fourier transforms as matrix products.

XLA does not split a transform over devices: every one of them would get, and transform, the whole batch. Products it splits. Long
transforms are made of short ones (J. Cooley, J. Tukey 1965), so that no matrix is large.
"""

from __future__ import annotations

import functools
from math import isqrt

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

DIRECT = 1024  # points of the longest transform that is one product
_product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def rfft(x: Array, size: int) -> Array:
    """Complex spectra [..., size // 2 + 1] of real numbers [..., L], L <= `size`, zeros behind them; as `jnp.fft.rfft`.

    >>> rfft(jnp.ones((2, 3)), 4).shape
    (2, 3)
    """
    half = size // 2 + 1
    if size <= DIRECT:
        cosines, sines = (jnp.asarray(m[: x.shape[-1], :half], x.dtype) for m in _waves(size))
        return jax.lax.complex(_product("...n,nk->...k", x, cosines), -_product("...n,nk->...k", x, sines))
    whole = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])])
    return fft(jax.lax.complex(whole, jnp.zeros_like(whole)))[..., :half]


def irfft(spectrum: Array, size: int) -> Array:
    """Real numbers [..., size] of spectra [..., size // 2 + 1]; as `jnp.fft.irfft`."""
    if size <= DIRECT:
        twice = np.where((np.arange(spectrum.shape[-1]) * 2) % size == 0, 1.0, 2.0)[:, None] / size
        cosines, sines = (jnp.asarray(twice * m[: spectrum.shape[-1]], spectrum.real.dtype) for m in _waves(size))
        back = functools.partial(_product, "...k,kn->...n")
        return back(spectrum.real, cosines) - back(spectrum.imag, sines)
    mirrored = jnp.conj(spectrum[..., 1 : (size + 1) // 2][..., ::-1])
    whole = jnp.concatenate([spectrum, mirrored], axis=-1)
    return jnp.conj(fft(jnp.conj(whole))).real / size


def fft(x: Array) -> Array:
    """Complex spectra [..., N] of complex numbers [..., N]; as `jnp.fft.fft`."""
    size = x.shape[-1]
    if size <= DIRECT:
        cosines, sines = _waves(size)
        return _product("...n,nk->...k", x, jnp.asarray(cosines - 1j * sines, x.dtype))
    first = next(n for n in range(isqrt(size), 0, -1) if size % n == 0)
    if first == 1:  # a long prime, which has no parts: not split over devices
        return jnp.fft.fft(x)
    second = size // first
    columns = jnp.swapaxes(fft(jnp.swapaxes(x.reshape(*x.shape[:-1], first, second), -1, -2)), -1, -2)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(first), np.arange(second)) / size)
    rows = fft(columns * jnp.asarray(turns, x.dtype))  # [..., k1, k2] is the frequency k1 + first * k2
    return jnp.swapaxes(rows, -1, -2).reshape(x.shape)


@functools.cache
def _waves(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines float64 [size, size] of the turn by which point n and frequency k meet, the same both ways."""
    turn = 2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    return np.cos(turn), np.sin(turn)
