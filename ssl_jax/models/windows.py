"""Windows of series as a model takes them: zeros for what is missing, channels at mean 0 and deviation 1, patches of one channel.

A series is `series` [B, T, C] with `valid` bool [B, T, C], False where a value is missing or the record is padded.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from ssl_jax.data.fourier import rfft
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError


def filled(series: Array, valid: Array) -> Array:
    """`series` with 0 where a value is missing."""
    return jnp.where(valid, series, 0)


class Instance(NamedTuple):
    """A window [B, T, C] at mean 0 and deviation 1 in each channel, 0 where a value is missing; and the `mean`, `scale` [B, 1, C]
    that bring values back."""

    series: Array
    mean: Array
    scale: Array

    def back(self, values: Array) -> Array:
        """Values [B, T, C] in the units of the record."""
        return values * self.scale + self.mean


def instance_normal(series: Array, valid: Array, epsilon: float = 1e-5) -> Instance:
    """Each channel of each window by its own mean and variance over what is valid, as RevIN does without its learned affine
    (Kim et al. 2022, "Reversible Instance Normalization", eq. 1 and 2). The scale is `sqrt(variance + epsilon)`."""
    x = filled(series, valid).astype(wide(series.dtype))
    count = jnp.maximum(valid.sum(axis=1, keepdims=True), 1)
    mean = x.sum(axis=1, keepdims=True) / count
    apart = jnp.where(valid, x - mean, 0)
    scale = jnp.sqrt(jnp.square(apart).sum(axis=1, keepdims=True) / count + epsilon)
    return Instance(apart / scale, mean, scale)


def patch_count(length: int, patch: int, stride: int) -> int:
    """How many patches a window of `length` steps has. UserError where it has none."""
    if not 0 < patch <= length or stride < 1:
        raise UserError(
            f"model.patch={patch}, stride={stride}: a window of {length} steps has no such patch; use smaller ones"
        )
    return (length - patch) // stride + 1


def patches_of(series: Array, patch: int, stride: int) -> Array:
    """[B, T, C] -> the patches of every channel [B, C, P, patch]. The last one ends with the window: steps before the first one
    are left out."""
    steps = places_of(series.shape[1], patch, stride)
    return jnp.moveaxis(series, 1, -1)[..., steps]


def places_of(length: int, patch: int, stride: int) -> Array:
    """The steps [P, patch] of every patch."""
    count = patch_count(length, patch, stride)
    first = length - patch - stride * (count - 1)
    return first + stride * jnp.arange(count)[:, None] + jnp.arange(patch)


def joined(patches: Array, length: int, stride: int) -> Array:
    """The series [B, T, C] of which `patches` [B, C, P, patch] are: the mean of those that a step lies in, 0 in none."""
    steps = places_of(length, patches.shape[-1], stride).reshape(-1)
    flat = jnp.moveaxis(patches.reshape(*patches.shape[:2], -1), -1, 1)
    total = jnp.zeros((len(flat), length, flat.shape[-1]), flat.dtype).at[:, steps].add(flat)
    return total / jnp.maximum(jnp.zeros(length, flat.dtype).at[steps].add(1), 1)[:, None]


def spectrum(series: Array, valid: Array) -> Array:
    """Magnitudes [B, T // 2 + 1, C] of the discrete Fourier transform of a series, divided by the root of T."""
    x = filled(series, valid).astype(wide(series.dtype))
    found = jnp.abs(rfft(jnp.swapaxes(x, 1, 2), x.shape[1])) / x.shape[1] ** 0.5
    return jnp.swapaxes(found, 1, 2).astype(series.dtype)
