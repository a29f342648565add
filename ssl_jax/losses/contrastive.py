"""Contrastive losses on the logical global batch. Under `jit` with a sharded batch every row sees every negative, and
the gradient flows through both sides of each pair."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.mean import Mean, mean_of


def normalize(z: Array, epsilon: float = 1e-12) -> Array:
    """Rows of `z` [..., D] divided by their Euclidean norm (at least `epsilon`), in float32 or wider."""
    z = z.astype(wide(z.dtype))
    # The maximum is taken under the root, so that the gradient at zero is zero and not NaN.
    return z * jax.lax.rsqrt(jnp.maximum(jnp.sum(z * z, axis=-1, keepdims=True), epsilon**2))


def nt_xent(z0: Array, z1: Array, temperature: float | Array) -> Mean:
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
    z0, z1 = normalize(z0), normalize(z1)
    # The two views of an image stay neighbours: put one after the other, half of the rows would change devices.
    z = jnp.stack([z0, z1], axis=1).reshape(-1, z0.shape[1])
    similarity = jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, z @ z.T / temperature)
    positive = jnp.sum(z0 * z1, axis=-1) / temperature
    return mean_of(jax.nn.logsumexp(similarity, axis=-1).reshape(-1, 2) - positive[:, None])


def info_nce(queries: Array, keys: Array, temperature: float | Array, same: Array | None = None) -> Mean:
    """Cross-entropy of each query's own key among all keys (van den Oord et al. 2018, arXiv 1807.03748, eq. 4).

    `-log exp(s_ii / t) / sum_j exp(s_ij / t)` with cosine similarities s, averaged over the B queries. MoCo v3's loss
    (arXiv 2104.02057, algorithm 1) is `2 t (info_nce(q0, k1) + info_nce(q1, k0))` with keys behind `stop_gradient`.

    Args:
        queries: [B, D], not yet normalised.
        keys: [B, D]; key i belongs to query i.
        temperature: t > 0; may be learned.
        same: int [B, K, W], see `twins`: the key of a row is no negative of its twins.
    """
    q, k = normalize(queries), normalize(keys)
    logits = q @ k.T / temperature
    logits = logits if same is None else jnp.where(others_twins(same), -jnp.inf, logits)
    return mean_of(jax.nn.logsumexp(logits, axis=-1) - jnp.sum(q * k, axis=-1) / temperature)


def two_way_info_nce(u: Array, v: Array, temperature: float | Array, same: Array | None = None) -> Mean:
    """Mean of `info_nce` in both directions: CLIP's loss (Radford et al. 2021, arXiv 2103.00020, figure 3).

    Args:
        u: [B, D] embeddings of one modality, not yet normalised.
        v: [B, D] embeddings of the other; v_i belongs to u_i.
        temperature: t > 0; may be learned (CLIP learns log(1 / t)).
        same: int [B, K, W], see `twins`: twins are no negatives of each other.
    """
    forth, back = info_nce(u, v, temperature, same), info_nce(v, u, temperature, same)
    return Mean((forth.total + back.total) / 2, forth.weight)


def twins(rows: Array, cols: Array) -> Array:
    """Bool [R, C]: whether a row and a column have a content in common (the same picture, or the same caption).

    Args:
        rows: int [R, K, W]: the K contents of each row, each as W numbers that are equal where contents are.
        cols: int [C, K, W].
    """
    return (rows[:, None] == cols).all(axis=-1).any(axis=-1)


def others_twins(same: Array) -> Array:
    """Bool [B, B]: `twins` of all rows, but no row is its own."""
    return twins(same, same) & ~jnp.eye(len(same), dtype=bool)


def passage_info_nce(
    queries: Array,
    passages: Array,
    temperature: float | Array = 1.0,
    hard_weight: float = 0.0,
    same: Array | None = None,
) -> Mean:
    """Cross-entropy of each query's own passage among the passages of all queries (DPR, Karpukhin et al. 2020, arXiv 2004.04906,
    eq. 2; SimCSE, Gao et al. 2021, arXiv 2104.08821, eq. 5).

    Args:
        queries: [B, D], normalised or not: similarities are products.
        passages: [B, P, D]; the first of each query is its own, the others are its hard negatives.
        temperature: t > 0.
        hard_weight: added to the logit of a query's own hard negatives.
        same: [B]; where two queries have the same number, the own passage of one is no negative of the other.
    """
    count, group = passages.shape[:2]
    kind = wide(queries.dtype)
    q, p = queries.astype(kind), passages.astype(kind).reshape(count * group, -1)
    logits = (q @ p.T / temperature).reshape(count, count, group)
    own = jnp.eye(count, dtype=bool)
    positive = logits[jnp.arange(count), jnp.arange(count), 0]
    logits = logits + hard_weight * (own[..., None] & (jnp.arange(group) > 0))
    if same is not None:
        twins = (same[:, None] == same) & ~own
        logits = jnp.where(twins[..., None] & (jnp.arange(group) == 0), -jnp.inf, logits)
    return matching(logits.reshape(count, -1), positive)


def sigmoid_pairwise(u: Array, v: Array, scale: float | Array, bias: float | Array, same: Array | None = None) -> Mean:
    """Every pair is a binary decision: same or not (Zhai et al. 2023, arXiv 2303.15343, eq. 1).

    `-1/B sum_ij log sigmoid(z_ij (scale s_ij + bias))`, with cosine similarities s, z = 1 on the diagonal and -1 elsewhere.
    The mean is over the B rows, not the B^2 pairs.

    Args:
        u: [B, D] embeddings of one modality, not yet normalised.
        v: [B, D] embeddings of the other; v_i belongs to u_i.
        scale: > 0, learned as its logarithm; starts at 10.
        bias: learned; starts at -10, since nearly all pairs are negative.
        same: int [B, K, W], see `twins`: a pair of twins does not count.
    """
    logits = scale * normalize(u) @ normalize(v).T + bias
    # log sigmoid(x) = -softplus(-x) and softplus(-x) = softplus(x) - x: the diagonal needs no second pass.
    each = jax.nn.softplus(logits)
    each = each if same is None else jnp.where(others_twins(same), 0, each)
    return mean_of(each.sum(axis=-1) - jnp.diagonal(logits))


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
