"""Gram anchoring: which patches are alike, not what they are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean, mean_of


def gram_anchoring(student: Array, teacher: Array) -> Mean:
    """`(X_S X_S^T - X_G X_G^T)^2` with normalised patches (Simeoni et al. 2025, arXiv 2508.10104, eq. 2).

    Args:
        student: [B, N, D] patch features of B images.
        teacher: [B, N, D] those of the Gram teacher. No gradient flows into them.

    Returns:
        `Mean` over B * N * N entries; the paper writes the squared Frobenius norm, its code this mean.
    """
    gram = [jnp.einsum("bnd,bmd->bnm", z, z) for z in map(normalize, (student, jax.lax.stop_gradient(teacher)))]
    return mean_of(jnp.square(gram[0] - gram[1]))
