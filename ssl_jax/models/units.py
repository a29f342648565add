"""Units of sound: the nearest of some rows to the cepstra of each frame that an encoder's front makes."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.audio.cepstra import cepstra, with_slopes
from ssl_jax.data.audio.logmel import LogMel
from ssl_jax.losses.contrastive import normalize
from ssl_jax.models.codebook import nearest


class FrameUnits(nn.Module):
    """Units int [B, N] of sequences: the nearest of `codes` rows to 13 MFCCs, their slopes, and the slopes of these.

    A frame is that of `front`: as many samples, as far apart. Of waves [B, T] at `rate` samples a second the energies are Kaldi's
    in 23 bands; a sequence [B, T, F] is of log energies already, whose cepstra are averaged over the steps of each frame.
    """

    codes: int
    front: Any
    rate: int
    coefficients: int = 13

    @nn.compact
    def __call__(self, sequence: Array) -> Array:
        """Sequences -> units."""
        vectors = self.vectors(sequence)
        return nearest(vectors, self.param("rows", nn.initializers.normal(1.0), (self.codes, vectors.shape[-1])))

    def vectors(self, sequence: Array) -> Array:
        """What is compared with the rows, [B, N, 3 C]."""
        energies = sequence if sequence.ndim == 3 else self.energies(sequence)
        x = with_slopes(cepstra(energies, self.coefficients))
        return self.averaged(x) if sequence.ndim == 3 else x

    def energies(self, wave: Array) -> Array:
        """Log energies [B, N, F] of each frame."""
        window, hop = (1000 * n / self.rate for n in (self.front.reach, self.stride))
        mel = LogMel(
            self.rate, 23, "kaldi", 20.0, None, window, hop, dc=1.0, preemphasis=0.97, floor=1e-7, periodic=False
        )
        return mel(wave)

    def averaged(self, x: Array) -> Array:
        """Means [B, N, D] over the steps [B, T, D] that each frame is made of."""
        window, strides = (1, self.front.reach, 1), (1, self.stride, 1)
        zero = jnp.zeros((), x.dtype)
        return jax.lax.reduce_window(x, zero, jax.lax.add, window, strides, "VALID") / self.front.reach

    @property
    def stride(self) -> int:
        """Samples, or steps, between the starts of two frames."""
        return math.prod(self.front.strides)


class UnitRows(nn.Module):
    """A learned row for each unit, and the cosines of states with them (HuBERT, arXiv 2106.07447, eq. 3)."""

    codes: int

    @nn.compact
    def __call__(self, states: Array) -> Array:
        """States [B, N, D] -> cosines [B, N, K]."""
        rows = self.param("rows", nn.initializers.uniform(1.0), (self.codes, states.shape[-1]))
        return jnp.einsum("bnd,kd->bnk", normalize(states), normalize(rows))
