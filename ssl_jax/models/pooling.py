"""Tokens to one row, by attention: SigLIP's pooling."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.models.attention import attend
from ssl_jax.models.rows import Dense, LayerNorm, hidden_layer


class AttentionPool(nn.Module):
    """A learned query attends to all tokens, and an MLP with a residual follows (the MAP head of Zhai et al. 2021, arXiv
    2106.04560, section 3.2; Lee et al. 2018, arXiv 1810.00825).
    """

    heads: int
    mlp_dim: int
    dtype: str = "float32"
    mlp: str = "gelu"
    norm_epsilon: float = 1e-6
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """Tokens [B, T, D] -> [B, D]."""
        batch, _, width = tokens.shape
        dense = partial(Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        head, layer = width // self.heads, hidden_layer(self.mlp, self.mlp_dim)
        probe = self.param("probe", nn.initializers.xavier_uniform(), (1, 1, width))
        query = dense((self.heads, head), name="query")(probe)
        pair = dense((2, self.heads, head), name="key_value")(tokens)
        seen = attend(jnp.broadcast_to(query, (batch, *query.shape[1:])), pair[:, :, 0], pair[:, :, 1])
        x = dense(width, axes=2, name="proj")(seen)[:, 0]
        h = LayerNorm(self.norm_epsilon, self.dtype, name="norm")(x)
        return x + dense(width, name="fc2")(layer.apply(dense(layer.features, name="fc1")(h)))
