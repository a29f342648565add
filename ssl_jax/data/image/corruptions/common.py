"""What the corruptions share: levels, lengths, sampling between pixels, noise of many sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

SIDE = 224  # pixels of the pictures that lengths in tables are for


def level(table: Sequence[float], severity: Array | int) -> Array:
    """The entry of a table of five for a severity in 1..5; it may be traced, so one program serves all five."""
    return jnp.asarray(table, jnp.float32)[jnp.asarray(severity) - 1]


Length = TypeVar("Length", Array, float)


def pixels(x: Array, length: Length) -> Length:
    """A length in 224ths of the shorter side of x [B, H, W, C], in its pixels."""
    return length * (min(x.shape[1:3]) / SIDE)


def each(draw: Callable[[Array], Array], keys: Array) -> Array:
    """`draw(key)` for each of the keys [B], stacked: what an example gets depends on its own key."""
    return jax.vmap(draw)(keys)


def normal(keys: Array, x: Array) -> Array:
    """Standard normal numbers of the shape of x."""
    return each(lambda key: jax.random.normal(key, x.shape[1:], x.dtype), keys)


def places(x: Array) -> tuple[Array, Array]:
    """Rows [H, 1] and columns [1, W] of the pixels of x [B, H, W, C]."""
    return jnp.arange(x.shape[1], dtype=jnp.float32)[:, None], jnp.arange(x.shape[2], dtype=jnp.float32)[None, :]


def sampled(x: Array, rows: Array, columns: Array) -> Array:
    """x [B, H, W, C] at real-valued places [B, H, W] (or what broadcasts to it), bilinearly; borders are repeated."""
    height, width = x.shape[1:3]
    shape = (len(x), height, width)
    rows = jnp.broadcast_to(jnp.clip(rows, 0, height - 1), shape)
    columns = jnp.broadcast_to(jnp.clip(columns, 0, width - 1), shape)
    return jax.vmap(_between)(x, rows, columns)


def _between(x: Array, rows: Array, columns: Array) -> Array:
    top, left = jnp.floor(rows).astype(jnp.int32), jnp.floor(columns).astype(jnp.int32)
    below, right = jnp.minimum(top + 1, len(x) - 1), jnp.minimum(left + 1, x.shape[1] - 1)
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    upper = x[top, left] * (1 - across) + x[top, right] * across
    lower = x[below, left] * (1 - across) + x[below, right] * across
    return upper * (1 - down) + lower * down


def fractal(keys: Array, x: Array, decay: Array | float) -> Array:
    """Noise of many sizes [B, H, W, 1] in [0, 1]: each octave is `decay` times weaker than the one before, which is twice as
    large.

    White noise whose waves are weighted by `frequency^-(1 + log2 decay)`: an octave has four times the waves of the one before.
    """
    height, width = x.shape[1:3]
    frequency = jnp.hypot(jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width))
    weight = jnp.where(frequency > 0, jnp.maximum(frequency, 1e-6) ** -(1 + jnp.log2(decay)), 0)
    white = normal(keys, x[..., :1])[..., 0]
    noise = jnp.fft.irfft2(weight * jnp.fft.rfft2(white), (height, width))
    low, high = (extreme(noise, axis=(1, 2), keepdims=True) for extreme in (jnp.min, jnp.max))
    return ((noise - low) / (high - low))[..., None]
