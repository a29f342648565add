"""What modulates a transformer: how noisy its tokens are."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.models.rows import NORMS, Dense

FREQUENCIES, SLOWEST = 256, 10000.0


class NoiseEmbedding(nn.Module):
    """A level of noise -> a condition: sines and cosines, and two dense layers (DiT; Peebles, Xie 2022, arXiv 2212.09748)."""

    width: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, noise: Array) -> Array:
        """[B] -> [B, width]."""
        half = FREQUENCIES // 2
        angle = noise.astype(jnp.float32)[:, None] * SLOWEST ** (-np.arange(half) / half)
        x = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1).astype(self.dtype)
        dense = [
            Dense(self.width, dtype=self.dtype, kernel_init=nn.initializers.normal(0.02), name=n)
            for n in ("fc1", "fc2")
        ]
        return nn.silu(dense[1](nn.silu(dense[0](x))))


class ModulatedNorm(nn.Module):
    """A norm whose output a condition shifts and scales, by a dense layer that starts at zero."""

    norm: str
    epsilon: float
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, condition: Array) -> Array:
        """[B, T, D] and [B, C] -> [B, T, D]."""
        dense = Dense(2 * x.shape[-1], dtype=self.dtype, kernel_init=nn.initializers.zeros_init(), name="modulation")
        shift, scale = jnp.split(dense(condition)[:, None], 2, axis=-1)
        return NORMS[self.norm](self.epsilon, self.dtype, name="norm")(x) * (1 + scale) + shift
