"""Encoders of time series: TS2Vec's dilated convolutions, a small convolutional net, and one for time beside one for frequency.

All take `series` [B, T, C] and `valid` bool [B, T, C], False where a value is missing or the record is padded.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.mesh import shard_batch
from ssl_jax.devices.precision import wide
from ssl_jax.models.conv import ConvNet
from ssl_jax.models.layer import Layer
from ssl_jax.models.rows import Dense, gelu
from ssl_jax.models.windows import filled, spectrum

TORCH = nn.initializers.variance_scaling(
    1 / 3, "fan_in", "uniform"
)  # how torch draws kernels of dense layers and convolutions


class DilatedConv(nn.Module):
    """A convolution in time whose taps are `dilation` steps apart, with zeros beyond both ends: as long as its input.

    It is the sum of a product for each tap, since XLA's CPU backend is slow at dilated convolutions; taps that lie beyond the
    other end for every step are left out.
    """

    width: int
    dilation: int = 1
    taps: int = 3
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, C] -> [B, T, width]."""
        kernel = self.param("kernel", TORCH, (self.taps, x.shape[-1], self.width)).astype(self.dtype)
        shifts = [(tap - self.taps // 2) * self.dilation for tap in range(self.taps)]
        parts = [shifted(x, by) @ kernel[tap] for tap, by in enumerate(shifts) if abs(by) < x.shape[1]]
        return sum(parts, self.param("bias", nn.initializers.zeros_init(), (self.width,)).astype(self.dtype))


def shifted(x: Array, by: int) -> Array:
    """x [B, T, C] -> what stands `by` steps later, zeros beyond the end; |by| < T.

    >>> shifted(jnp.arange(1.0, 4.0)[None, :, None], 1)[0, :, 0].tolist()
    [2.0, 3.0, 0.0]
    """
    before, after = max(-by, 0), max(by, 0)
    return jnp.pad(x[:, after : x.shape[1] - before], ((0, 0), (before, after), (0, 0)))


class DilatedEncoder(nn.Module):
    """TS2Vec's encoder (Yue et al. 2021, arXiv 2106.10466, section 3.2): a state for every step.

    A linear layer, `depth` residual blocks of two GELU-convolutions with dilations 1, 2, 4, ..., a last block to `out`, dropout.
    A step with any value missing is zero after the linear layer, and so is one that the training does not show (`seen`). Steps
    beside a crop (not `inside`) and padding are zero before every convolution: what a state is does not depend on how long the
    array is. `features` are the maxima over the steps.
    """

    width: int = 64
    depth: int = 10
    out: int = 320
    dropout: float = 0.1
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        series: Array,
        valid: Array,
        train: bool = False,
        seen: Array | None = None,
        inside: Array | None = None,
    ) -> Array:
        """States [B, T, out]. `seen`, `inside` bool [B, T]: all steps without them."""
        there = unpadded(valid) if inside is None else inside & unpadded(valid)
        shown = valid.all(axis=-1) if seen is None else valid.all(axis=-1) & seen
        x = Dense(self.width, dtype=self.dtype, kernel_init=TORCH, name="embed")(filled(series, valid))
        x = shard_batch(jnp.where(shown[..., None], x, 0))
        for i, width in enumerate((*[self.width] * self.depth, self.out)):
            x = DilatedBlock(width, 2**i, i == self.depth, self.dtype, name=f"block{i}")(x, there)
        return nn.Dropout(self.dropout, deterministic=not train, rng_collection="noise")(x)

    def features(self, series: Array, valid: Array, train: bool = False) -> Array:
        """Features [B, out]."""
        return jnp.where(unpadded(valid)[..., None], self(series, valid, train), -jnp.inf).max(axis=1)

    def layers(self, series: Array, valid: Array, last: int) -> list[Layer]:
        """The states of every step."""
        return [Layer(self(series, valid))]


class DilatedBlock(nn.Module):
    """`x + conv(gelu(conv(gelu(x))))` with one dilation; the last block has a linear layer beside, which changes the width."""

    width: int
    dilation: int
    projects: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, there: Array) -> Array:
        """[B, T, C] -> [B, T, width]; convolutions see zeros where a step is not `there` [B, T]."""
        beside = Dense(self.width, dtype=self.dtype, kernel_init=TORCH, name="projection")(x) if self.projects else x
        for i in range(2):
            x = jnp.where(there[..., None], gelu(x), 0)
            x = DilatedConv(self.width, self.dilation, dtype=self.dtype, name=f"conv{i}")(x)
        return x + beside


def unpadded(valid: Array) -> Array:
    """Bool [B, T]: the steps up to the last one that holds a value; all of a record that holds none."""
    later = jnp.flip(jnp.cumsum(jnp.flip(valid.any(axis=-1), 1), axis=1), 1) > 0
    return later | ~later[:, :1]


class SeriesConv(ConvNet):
    """A small convolutional net on values, 0 where they are missing, beside the mask of what is valid.

    `features` are the means of the last map over time, at most `cells` parts of it.
    """

    widths: tuple[int, ...] = (64, 128, 128)
    strides: tuple[int | tuple[int, ...], ...] = (2, 2, 1)
    kernels: tuple[int | tuple[int, ...], ...] = (8, 5, 3)
    pool: str = "mean"

    def __call__(self, series: Array, valid: Array, train: bool = False) -> Array:  # type: ignore[override]
        """The map [B, T', widths[-1]]."""
        return self.maps(with_mask(series, valid), train)[-1]

    def features(self, series: Array, valid: Array, train: bool = False) -> Array:  # type: ignore[override]
        """Features [B, F]."""
        return super().features(with_mask(series, valid), train)

    def layers(self, series: Array, valid: Array, last: int) -> list[Layer]:  # type: ignore[override]
        """The maps after each of the `last` layers."""
        return super().layers(with_mask(series, valid), last)


def with_mask(series: Array, valid: Array) -> Array:
    """Values and the mask, channels side by side [B, T, 2 C]."""
    return jnp.concatenate([filled(series, valid), valid.astype(series.dtype)], axis=-1)


class TimeFrequency(nn.Module):
    """An encoder of a series and one of its spectrum, features side by side (TF-C, Zhang et al. 2022, arXiv 2206.08496)."""

    time: nn.Module
    frequency: nn.Module

    @property
    def dtype(self) -> str:
        """That of the encoder of time."""
        return self.time.dtype

    def pair(self, series: Array, valid: Array, magnitudes: Array, train: bool = False) -> tuple[Array, Array]:
        """Features of a series and of magnitudes [B, F, C] of a spectrum, each [B, D] in float32 or wider."""
        there = jnp.ones_like(magnitudes, bool)
        h, of_spectrum = self.time.features(series, valid, train), self.frequency.features(magnitudes, there, train)
        return h.astype(wide(h.dtype)), of_spectrum.astype(wide(of_spectrum.dtype))

    def features(self, series: Array, valid: Array, train: bool = False) -> Array:
        """Features [B, 2 D]."""
        return jnp.concatenate(self.pair(series, valid, spectrum(series, valid), train), axis=-1)
