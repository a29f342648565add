"""Softmax cross-entropy over a vocabulary. `R` rows are the positions that count, `V` the vocabulary."""

from __future__ import annotations

from typing import NamedTuple

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


class ToldWords(NamedTuple):
    """What a last layer says of R rows. `loss` is what is learned; the gradient of all else is 0.

    `loss` is the cross-entropy and z times `log_sum_squared`; `guess` int [R] is each row's first guess.
    """

    loss: Mean
    cross_entropy: Mean
    log_sum_squared: Mean
    guess: Array


def linear_told_words(
    hidden: Array,
    table: Array,
    labels: Array,
    bias: Array | None = None,
    weights: Array | None = None,
    z: float = 0.0,
) -> ToldWords:
    """`linear_softmax_cross_entropy` with `z` times the squared log-sum of each row's exponentials, and what was guessed.

    PaLM (Chowdhery et al. 2022, arXiv 2204.02311, section 5) has z = 1e-4, so that the log-sums stay near 0.
    """
    logits = jnp.einsum("rd,vd->rv", hidden, table, preferred_element_type=wide(hidden.dtype))
    logits = (logits if bias is None else logits + bias).astype(wide(logits.dtype))
    log_sum = jax.nn.logsumexp(logits, axis=-1)
    nats = log_sum - jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return told_of(mean_of(nats + z * log_sum**2, weights), nats, log_sum, logits.argmax(axis=-1), weights)


def told_of(loss: Mean, nats: Array, log_sum: Array, guess: Array, weights: Array | None) -> ToldWords:
    """`loss`, and the rest from what is known of each row [R]."""
    nats, log_sum = jax.lax.stop_gradient((nats, log_sum))
    return ToldWords(loss, mean_of(nats, weights), mean_of(log_sum**2, weights), guess)
