"""MSN's loss: anchors agree with a sharpened, balanced assignment of their target, and use all prototypes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.prototypes import prototype_cross_entropy, sinkhorn


def prototype_scores(z: Array, prototypes: Array) -> Array:
    """Cosines [R, K] of embeddings `z` [R, D] and `prototypes` [K, D]."""
    return normalize(z) @ normalize(prototypes).T


def sharpened_assignment(scores: Array, temperature: float, sharpening: float, iterations: int) -> Array:
    """Targets [R, K]: `softmax(scores / temperature)` to the power `1 / sharpening`, normalised, then Sinkhorn.

    Assran et al. 2022, arXiv 2204.07141, section 3; `iterations=0` leaves Sinkhorn out. No gradient.
    """
    log_p = jax.nn.log_softmax(scores.astype(wide(scores.dtype)) / (temperature * sharpening), axis=-1)
    return sinkhorn(log_p, 1.0, iterations)


def masked_siamese(anchors: Array, targets: Array, temperature: float) -> tuple[Mean, Mean]:
    """The two terms of MSN (Assran et al. 2022, arXiv 2204.07141, eq. 1).

    Args:
        anchors: [B, V, K] scores of V anchor views.
        targets: [B, K] assignments of the target view, rows that sum to 1.
        temperature: of the anchors' softmax, > 0.

    Returns:
        Cross-entropy, a `Mean` over B * V rows, and `log K - H(mean anchor assignment)` over the global batch (at least 0).
    """
    count = anchors.shape[-1]
    rows = anchors.reshape(-1, count)
    repeated = jnp.repeat(targets, anchors.shape[1], axis=0)
    mean = jax.nn.softmax(rows.astype(wide(rows.dtype)) / temperature, axis=-1).mean(axis=0)
    uneven = jnp.sum(mean * jnp.log(jnp.maximum(mean, 1e-30))) + jnp.log(count)
    return prototype_cross_entropy(rows, repeated, temperature), Mean(uneven, jnp.ones((), uneven.dtype))
