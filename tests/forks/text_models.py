"""A transformer on tokens, for texts in both directions and one."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.models.mask import Mask
from ssl_jax.models.transformer import Transformer


class TextEncoder(nn.Module):
    """Embeddings of tokens and places, and a stack of blocks; `causal` blocks see what came before."""

    words: int
    width: int = 32
    depth: int = 1
    heads: int = 2
    longest: int = 32
    causal: bool = False
    dtype: str = "float32"
    remat: str = "none"
    attention: str = "xla"

    @nn.compact
    def __call__(self, tokens: Array, segments: Array, places: Array, train: bool = False) -> Array:
        """Tokens int [B, N], their segments (0: padding) and places -> [B, N, D]."""
        x = nn.Embed(self.words, self.width, name="tokens")(tokens)
        x = x + nn.Embed(self.longest, self.width, name="places")(places)
        stack = Transformer(
            self.depth, self.heads, 4 * self.width, self.dtype, self.remat, attention=self.attention, name="transformer"
        )
        return stack(x.astype(self.dtype), Mask(segments > 0, self.causal, segments), train=train)

    def features(self, tokens: Array, segments: Array, places: Array, train: bool = False) -> Array:
        """The mean [B, D] over what is no padding."""
        real = (segments > 0)[..., None]
        return (self(tokens, segments, places, train) * real).sum(axis=1) / jnp.maximum(real.sum(axis=1), 1)


class WordBias(nn.Module):
    """A number for each word, added to its logit."""

    words: int

    @nn.compact
    def __call__(self) -> Array:
        """[V]."""
        return self.param("bias", nn.initializers.zeros_init(), (self.words,))
