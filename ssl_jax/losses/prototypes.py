"""Cross-entropy against prototypes, and the two ways to make its targets: Sinkhorn-Knopp and centring.

Notation: `R` rows (examples, or tokens, of the global batch), `K` prototypes. Targets carry no gradient.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean, mean_of

EXCLUDED = -1e30  # the logit of what must not count: finite, so that a difference of two is no NaN


def sinkhorn(scores: Array, temperature: float | Array, iterations: int = 3, valid: Array | None = None) -> Array:
    """Assignments that use all prototypes about equally (Caron et al. 2020, arXiv 2006.09882, section 3.1).

    `Q = diag(a) exp(scores / temperature) diag(b)`: each iteration makes the columns' sums equal, then every row's sum 1.
    In the logarithmic domain, where a prototype far from all rows does not become 0 / 0. Under `jit` on a sharded batch
    the column sums are those of the global batch.

    Args:
        scores: [R, K], not yet divided by the temperature.
        temperature: > 0 (0.05 in SwAV, 0.04 to 0.07 in DINOv2).
        iterations: >= 1; 3 in all published recipes.
        valid: [R] False on rows that are padding; they count in no column sum, and their assignments are 0.

    Returns:
        Q [R, K] in float32 or wider; valid rows sum to 1. No gradient.

    Raises:
        UserError: `valid` is not one truth value a row: padding would count in the sums.
    """
    if valid is not None and (valid.shape != scores.shape[:1] or valid.dtype != bool):
        raise UserError(
            f"sinkhorn: valid is {valid.dtype}{list(valid.shape)} for scores {list(scores.shape)}, so that padded rows would "
            f"count in the sums; give bool[{scores.shape[0]}], False on padding"
        )
    log_q = jax.lax.stop_gradient(scores.astype(wide(scores.dtype)) / temperature)
    counted = None if valid is None else valid[:, None]
    for _ in range(iterations):
        log_q -= jax.nn.logsumexp(log_q, axis=0, keepdims=True, where=counted)
        log_q -= jax.nn.logsumexp(log_q, axis=1, keepdims=True)
    q = jnp.exp(log_q)
    return q if valid is None else jnp.where(valid[:, None], q, 0)


def centred_softmax(scores: Array, centre: Array, temperature: float | Array) -> Array:
    """Targets `softmax((scores - centre) / temperature)` [R, K] of DINO (Caron et al. 2021, arXiv 2104.14294, eq. 4).

    `scores` [R, K], `centre` [K]: a running mean of the scores. No gradient.
    """
    scores = scores.astype(wide(scores.dtype))
    return jax.lax.stop_gradient(jax.nn.softmax((scores - centre) / temperature, axis=-1))


def prototype_cross_entropy(
    student_logits: Array, targets: Array, temperature: float | Array, weights: Array | None = None
) -> Mean:
    """`- sum_k targets_k log softmax(student_logits / temperature)_k`, averaged over rows.

    Args:
        student_logits: [R, K], not yet divided by the temperature.
        targets: [R, K] rows that sum to 1. No gradient flows into them.
        temperature: > 0; 0.1 in SwAV, DINO, iBOT and DINOv2.
        weights: [R], 0 on padding; None counts all rows once.
    """
    logits = student_logits.astype(wide(student_logits.dtype)) / temperature
    cross_entropy = -jnp.sum(jax.lax.stop_gradient(targets) * jax.nn.log_softmax(logits, axis=-1), axis=-1)
    return mean_of(cross_entropy, weights)
