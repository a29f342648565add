"""TS2Vec's hierarchical contrast (Yue et al. 2021, arXiv 2106.10466, eq. 1 to 3, algorithm 1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide


def hierarchical_contrast(z1: Array, z2: Array, length: Array | int, share: float = 0.5) -> Array:
    """The loss of two views of the same steps: contrast between series and between steps, at every scale; a scalar.

    At each level the two terms are weighed `share` and 1 - `share`; then pairs of steps are joined by their maximum, an odd last
    one is dropped, until one step is left, where there is no contrast between steps. The mean over the levels. Similarities are
    plain products: no norm, no temperature.

    Args:
        z1: [B, T, D], of which the first `length` steps count.
        z2: [B, T, D].
        length: of the steps that both views have, in [1, T]; it may be traced, the arrays stay as long as they are.
        share: of the contrast between series.
    """
    z1, z2 = (z.astype(wide(z.dtype)) for z in (z1, z2))
    total, levels, left = jnp.zeros((), z1.dtype), jnp.zeros((), z1.dtype), jnp.asarray(length)
    for _ in range(z1.shape[1].bit_length()):
        counts, alone = left >= 1, left <= 1
        between = share * instance_contrast(z1, z2, left)
        within = jnp.where(alone, 0, (1 - share) * temporal_contrast(z1, z2, left))
        total, levels = total + jnp.where(counts, between + within, 0), levels + counts
        z1, z2, left = halved(z1), halved(z2), left // 2
    return total / levels


def instance_contrast(z1: Array, z2: Array, length: Array | int) -> Array:
    """Cross-entropy of the same step of the same series in the other view, among that step of all series in both (eq. 2).

    The mean over both views, all series and the first `length` steps; 0 for a single series.
    """
    z = jnp.concatenate([z1, z2], axis=0).swapaxes(0, 1)  # [T, 2B, D]
    each = _to_the_other_view(z, jnp.ones(z.shape[:2], bool))
    steps = jnp.arange(len(z)) < length
    return jnp.where(steps, each.mean(axis=1), 0).sum() / jnp.maximum(length, 1) * (len(z1) > 1)


def temporal_contrast(z1: Array, z2: Array, length: Array | int) -> Array:
    """Cross-entropy of the same step of the other view, among all steps of that series in both (eq. 1).

    The mean over both views, all series and the first `length` steps.
    """
    z = jnp.concatenate([z1, z2], axis=1)  # [B, 2T, D]
    steps = jnp.tile(jnp.arange(z1.shape[1]) < length, 2)
    each = _to_the_other_view(z, jnp.broadcast_to(steps, z.shape[:2]))
    return jnp.where(steps, each, 0).sum() / (2 * len(z1) * jnp.maximum(length, 1))


def halved(z: Array) -> Array:
    """The maxima of pairs of steps [B, T // 2, D]; of a single step itself."""
    batch, steps, width = z.shape
    return z if steps == 1 else z[:, : steps // 2 * 2].reshape(batch, steps // 2, 2, width).max(axis=2)


def _to_the_other_view(z: Array, shown: Array) -> Array:
    """`logsumexp - product with the other view` [G, 2N] of rows z [G, 2N, D], among the other rows that are `shown` [G, 2N]."""
    rows = z.shape[1]
    others = shown[:, None, :] & ~jnp.eye(rows, dtype=bool)
    logits = jnp.where(others, z @ z.swapaxes(1, 2), -jnp.inf)
    own = jnp.sum(z * jnp.roll(z, rows // 2, axis=1), axis=-1)
    safe = jnp.where(others.any(axis=-1, keepdims=True), logits, 0)  # a row without others: no NaN in the gradient
    return jax.nn.logsumexp(safe, axis=-1) - own
