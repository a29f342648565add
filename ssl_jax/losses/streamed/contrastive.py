"""Contrastive losses of any batch size, one call each. Values and gradients are those of `losses.contrastive`.

`method` is "auto" (the cost model of `cost`; small batches take the plain form), or one of `cost.METHODS`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses import contrastive as plain
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.streamed.cost import choose
from ssl_jax.losses.streamed.engine import total
from ssl_jax.losses.streamed.kernels import Distinct, Passages, Row, Sigmoid, Softmax, Texts
from ssl_jax.losses.streamed.rounds import Plan
from ssl_jax.losses.streamed.tiles import Side


def nt_xent(z0: Array, z1: Array, temperature: float | Array, method: str = "auto") -> Mean:
    """NT-Xent of two views [B, D] each; see `losses.contrastive.nt_xent`."""
    place = choose(method, 2 * len(z0), 2 * len(z0), z0.shape[1])
    if place is None:
        return plain.nt_xent(z0, z1, temperature)
    z0, z1 = (normalize(z) * temperature**-0.5 for z in (z0, z1))
    # The two views of an image stay neighbours: put one after the other, half of the rows would change devices.
    side = Side(jnp.stack([z0, z1], axis=1).reshape(-1, z0.shape[1]))
    denominators = total(Plan(Softmax(rows=True, cols=True), place, own=True), side, side)
    return _mean(denominators - 2 * jnp.sum(z0 * z1), 2 * len(z0))


def info_nce(queries: Array, keys: Array, temperature: float | Array, method: str = "auto") -> Mean:
    """InfoNCE of queries and keys [B, D], one way; see `losses.contrastive.info_nce`, also for MoCo v3's form."""
    place = choose(method, len(queries), len(keys), queries.shape[1])
    if place is None:
        return plain.info_nce(queries, keys, temperature)
    q, k = normalize(queries) / temperature, normalize(keys)
    return _mean(total(Plan(Softmax(), place), Side(q), Side(k)) - jnp.sum(q * k), len(q))


def two_way_info_nce(
    u: Array, v: Array, temperature: float | Array, method: str = "auto", same: Array | None = None
) -> Mean:
    """CLIP's loss of embeddings [B, D]; see `losses.contrastive.two_way_info_nce`. One tile serves both directions."""
    place = choose(method, len(u), len(v), u.shape[1])
    if place is None:
        return plain.two_way_info_nce(u, v, temperature, same)
    u, v = normalize(u) / temperature, normalize(v)
    softmax = Softmax(rows=True, cols=True)
    both = total(Plan(softmax if same is None else Distinct(softmax), place), _side(u, same), _side(v, same))
    return _mean(both / 2 - jnp.sum(u * v), len(u))


def passage_info_nce(
    queries: Array,
    passages: Array,
    temperature: float | Array = 1.0,
    hard_weight: float = 0.0,
    same: Array | None = None,
    method: str = "auto",
) -> Mean:
    """Cross-entropy of each query's own passage among all passages; see `losses.contrastive.passage_info_nce`."""
    count, group, width = passages.shape
    place = choose(method, count, count * group, width)
    if place is None:
        return plain.passage_info_nce(queries, passages, temperature, hard_weight, same)
    q, p = (x.astype(wide(x.dtype)) for x in (queries / temperature, passages))
    number = jnp.arange(count)
    texts = Texts(number, number if same is None else same, jnp.zeros_like(number))
    each = Texts(*(jnp.repeat(x, group) for x in texts))._replace(
        hard=jnp.tile(jnp.arange(group) > 0, count).astype(int)
    )
    rows, cols = Side(q, target=texts), Side(p.reshape(-1, width), target=each)
    return _mean(total(Plan(Passages(hard_weight=hard_weight), place), rows, cols) - jnp.sum(q * p[:, 0]), count)


def sigmoid_pairwise(
    u: Array,
    v: Array,
    scale: float | Array,
    bias: float | Array,
    method: str = "auto",
    same: Array | None = None,
) -> Mean:
    """SigLIP's loss of embeddings [B, D]; see `losses.contrastive.sigmoid_pairwise`."""
    place = choose(method, len(u), len(v), u.shape[1])
    if place is None:
        return plain.sigmoid_pairwise(u, v, scale, bias, same)
    u, v = normalize(u) * scale, normalize(v)
    offset = jnp.broadcast_to(jnp.asarray(bias, v.dtype), len(v))
    kernel = Sigmoid() if same is None else Distinct(Sigmoid())
    every = total(Plan(kernel, place), _side(u, same), _side(v, same)._replace(offset=offset))
    return _mean(every - jnp.sum(u * v) - offset.sum(), len(u))


def _side(x: Array, same: Array | None) -> Side:
    return Side(x) if same is None else Side(x, target=Row(jnp.arange(len(x)), same))


def _mean(total: Array, rows: int) -> Mean:
    return Mean(total, jnp.asarray(rows, total.dtype))
