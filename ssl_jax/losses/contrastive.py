"""Contrastive losses on the logical global batch. Under `jit` with a sharded batch every row sees every negative, and
the gradient flows through both sides of each pair."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.precision import wide


def normalize(z: Array, epsilon: float = 1e-12) -> Array:
    """Rows of `z` [..., D] divided by their Euclidean norm (at least `epsilon`), in float32 or wider."""
    z = z.astype(wide(z.dtype))
    # The maximum is taken under the root, so that the gradient at zero is zero and not NaN.
    return z * jax.lax.rsqrt(jnp.maximum(jnp.sum(z * z, axis=-1, keepdims=True), epsilon**2))


def nt_xent(z0: Array, z1: Array, temperature: float) -> Mean:
    """Normalised temperature-scaled cross-entropy over two views (Chen et al. 2020, arXiv 2002.05709, eq. 1).

    Row i of the 2B normalised embeddings has its other view as the positive and the 2B - 2 remaining rows as negatives:
    `-log exp(s_ip / t) / sum_{j != i} exp(s_ij / t)`, averaged over all 2B rows.

    Args:
        z0: [B, D] embeddings of the first view, not yet normalised.
        z1: [B, D] embeddings of the second view.
        temperature: t > 0.

    Returns:
        `Mean` over 2B rows. google-research/simclr reports exactly twice this value.
    """
    z = normalize(jnp.concatenate([z0, z1]))
    rows, pairs = z.shape[0], z.shape[0] // 2
    similarity = z @ z.T / temperature
    similarity = jnp.where(jnp.eye(rows, dtype=bool), -jnp.inf, similarity)
    positive = jnp.sum(z[:pairs] * z[pairs:], axis=-1) / temperature
    return mean_of(jax.nn.logsumexp(similarity, axis=-1) - jnp.concatenate([positive, positive]))
