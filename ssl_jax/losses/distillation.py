"""Cross-entropies of self-distillation: crops against the teacher's global crops, masked patches against the unmasked.

Notation: `G` global crops, `V` crops of all sizes, `M` slots for masked patches, `K` prototypes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.prototypes import prototype_cross_entropy


def multicrop_cross_entropy(logits: Array, targets: Array, temperature: float) -> tuple[Mean, Mean]:
    """`H(P_i, s_v)` over all pairs of a global crop i and another crop v (Caron et al. 2021, arXiv 2104.14294, eq. 3).

    Cross-entropy is linear in its target, so the targets of a crop are added up and each crop is met once.

    Args:
        logits: [B, V, K] of the student; the first G crops are the teacher's.
        targets: [B, G, K] rows that sum to 1. No gradient flows into them.
        temperature: of the student, > 0.

    Returns:
        The terms of global and of local crops. Both have the weight B * G * (V - 1), the number of all pairs, so that their
        sum is DINO's loss.
    """
    batch, crops, count = logits.shape
    views = targets.shape[1]
    pairs = jnp.asarray(batch * views * (crops - 1), targets.dtype)
    together = targets.sum(axis=1, keepdims=True)

    def term(logits: Array, targets: Array) -> Mean:
        rows = prototype_cross_entropy(logits.reshape(-1, count), targets.reshape(-1, count), temperature)
        return Mean(rows.total, pairs)

    local = jnp.broadcast_to(together, (batch, crops - views, count))
    return term(logits[:, :views], together - targets), term(logits[:, views:], local)


def masked_patch_cross_entropy(logits: Array, targets: Array, weights: Array, temperature: float, images: int) -> Mean:
    """iBOT's patch loss: the mean over the masked patches of an image, then over all images (arXiv 2111.07832, eq. 2).

    Args:
        logits: [R, K] of the student at R slots for masked patches.
        targets: [R, K] of the teacher at the same patches. No gradient flows into them.
        weights: [R] one over the number of masked patches of the slot's image; 0 on empty slots.
        temperature: of the student, > 0.
        images: how many; one without masked patches counts with loss 0.
    """
    total = prototype_cross_entropy(logits, targets, temperature, weights).total
    return Mean(total, jnp.asarray(images, total.dtype))


def entropy(targets: Array) -> Mean:
    """`-sum_k p_k log p_k` of the rows of `targets` [..., K], averaged. ln K is uniform collapse, 0 one-hot targets."""
    return mean_of(jnp.sum(jax.scipy.special.entr(targets), axis=-1))
