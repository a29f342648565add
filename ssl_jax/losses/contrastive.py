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


def info_nce(queries: Array, keys: Array, temperature: float) -> Mean:
    """Cross-entropy of each query with its own key among those of the batch (van den Oord et al. 2018, arXiv 1807.03748).

    Args:
        queries: [B, D], not yet normalised.
        keys: [B, D], not yet normalised; row i belongs to query i.
        temperature: t > 0.
    """
    q, k = normalize(queries), normalize(keys)
    return matching(q @ k.T / temperature, jnp.sum(q * k, axis=-1) / temperature)


def queue_info_nce(queries: Array, keys: Array, queue: Array, temperature: float) -> Mean:
    """Cross-entropy of each query with its own key among that key and a queue (He et al. 2019, arXiv 1911.05722, eq. 1).

    Args:
        queries: [B, D], not yet normalised.
        keys: [B, D], not yet normalised.
        queue: [K, D] unit vectors of earlier batches.
        temperature: t > 0.
    """
    q, k = normalize(queries), normalize(keys)
    positive = jnp.sum(q * k, axis=-1) / temperature
    negatives = q @ queue.astype(q.dtype).T / temperature
    return matching(jnp.concatenate([positive[:, None], negatives], axis=1), positive)


def bilinear_info_nce(queries: Array, keys: Array, weight: Array) -> Mean:
    """Cross-entropy on `q W k^T`, with neither norm nor temperature (CURL, Srinivas et al. 2020, arXiv 2004.04136, eq. 3).

    Args:
        queries: [B, D].
        keys: [B, D]; row i belongs to query i.
        weight: [D, D].
    """
    kind = wide(queries.dtype)
    k = keys.astype(kind)
    projected = queries.astype(kind) @ weight.astype(kind)
    return matching(projected @ k.T, jnp.sum(projected * k, axis=-1))


def matching(logits: Array, positive: Array) -> Mean:
    """`logsumexp(row) - positive` averaged over rows: logits [B, K], among them the positive one [B] of each row."""
    return mean_of(jax.nn.logsumexp(logits, axis=-1) - positive)
