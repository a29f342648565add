"""Softmax cross-entropy over a vocabulary. `R` rows are the positions that count, `V` the vocabulary."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.mean import Mean, mean_of


def softmax_cross_entropy(logits: Array, labels: Array, weights: Array | None = None) -> Mean:
    """`-log softmax(logits)_label`, averaged over rows.

    Args:
        logits: [R, V].
        labels: [R] int in [0, V). Rows with weight 0 may hold any label in that range.
        weights: [R], 0 on rows that do not count (padding, unmasked tokens); None counts all once.
    """
    logits = logits.astype(wide(logits.dtype))
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return mean_of(jax.nn.logsumexp(logits, axis=-1) - chosen, weights)


def linear_softmax_cross_entropy(
    hidden: Array, table: Array, labels: Array, bias: Array | None = None, weights: Array | None = None
) -> Mean:
    """`softmax_cross_entropy` of `hidden @ table.T + bias`: the last layer of a language model, tied or not.

    Args:
        hidden: [R, D].
        table: [V, D], e.g. the token embedding.
        labels: [R] int in [0, V).
        bias: [V] or None.
        weights: [R], 0 on rows that do not count; None counts all once.
    """
    logits = jnp.einsum("rd,vd->rv", hidden, table, preferred_element_type=wide(hidden.dtype))
    return softmax_cross_entropy(logits if bias is None else logits + bias, labels, weights)
