"""Codebooks that a frame picks from, one entry of each (product quantisation of wav2vec 2.0)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.models.rows import Dense


class Picked(NamedTuple):
    """Of each codebook: `weights` [..., G, V] of its entries, which sum to 1, and their `usage` [..., G, V] as it is counted."""

    weights: Array
    usage: Array


class Quantised(NamedTuple):
    """`vectors` [B, N, D] of the picked entries side by side, their numbers `codes` [B, N, G], and `usage` [B, N, G, V]."""

    vectors: Array
    codes: Array
    usage: Array


Pick = Callable[[Array], Picked]


def largest(logits: Array) -> Picked:
    """The entry with the largest of the logits [..., V], without noise and gradient."""
    one = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=logits.dtype)
    return Picked(one, one)


def straight_through_gumbel(noise: Array, temperature: Array, logits: Array) -> Picked:
    """The entry with the largest of `logits + noise`, with the gradient of their softmax at a temperature (Jang et al. 2016,
    arXiv 1611.01144, section 2.2); usage is the softmax of the logits alone.

    Noise [B, N, G, V] is Gumbel's; temperatures are [B].
    """
    noisy = logits + noise
    soft = jax.nn.softmax(noisy / temperature.reshape(-1, *[1] * (logits.ndim - 1)))
    hard = largest(noisy).weights
    return Picked(hard + soft - jax.lax.stop_gradient(soft), jax.nn.softmax(logits))


class Codebooks(nn.Module):
    """`groups` codebooks of `size` entries that are `width / groups` wide."""

    groups: int = 2
    size: int = 320
    width: int = 256
    dtype: str = "float32"

    @nn.compact
    def __call__(self, frames: Array, pick: Pick = largest) -> Quantised:
        """Frames [B, N, C] -> the entries that `pick` takes by logits [B, N, G, V], which are float32 or wider."""
        init = nn.initializers.normal(1.0)
        logits = Dense((self.groups, self.size), dtype=self.dtype, kernel_init=init, name="logits")(frames)
        shape = (self.groups, self.size, self.width // self.groups)
        entries = self.param("entries", nn.initializers.uniform(1.0), shape)
        picked = pick(logits.astype(wide(logits.dtype)))
        vectors = jnp.einsum("bngv,gvd->bngd", picked.weights.astype(self.dtype), entries.astype(self.dtype))
        return Quantised(vectors.reshape(*vectors.shape[:2], -1), picked.weights.argmax(-1), picked.usage)
