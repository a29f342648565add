"""Losses of methods that tell a hidden place by the code that stands there (wav2vec 2.0)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean


class ToldPlaces(NamedTuple):
    """At every place [B, N]: nats of the code that stands there, and whether it was the first guess."""

    nats: Array
    right: Array


def told_places(states: Array, targets: Array, codes: Array, others: Array, temperature: float) -> ToldPlaces:
    """Cross-entropy of a place's own target among it and those of K other places, by cosines (arXiv 2006.11477, eq. 3).

    Args:
        states: [B, N, D], what the context makes of hidden places.
        targets: [B, N, D], the quantised frames of all places.
        codes: [B, N, G] int, which entry of each codebook they are: another place with the same codes is no negative.
        others: [B, N, K] int, the other places of each.
        temperature: kappa > 0.
    """
    cosines = normalize(states) @ jnp.swapaxes(normalize(targets), 1, 2) / temperature
    same = (codes[:, :, None] == codes[:, None]).all(-1)
    cosines = cosines.astype(wide(states.dtype))
    least = jnp.finfo(cosines.dtype).min
    negatives = jnp.take_along_axis(jnp.where(same, least, cosines), others, axis=2)
    positive = jnp.diagonal(cosines, axis1=1, axis2=2)
    nats = jax.nn.logsumexp(jnp.concatenate([positive[..., None], negatives], axis=-1), axis=-1) - positive
    return ToldPlaces(nats, positive > negatives.max(-1))


def perplexity(usage: Array) -> Array:
    """`sum_g exp(H(usage_g))` of how much each entry of the codebooks is used [G, V]; G V where all are used alike."""
    return jnp.exp(-(usage * jnp.log(usage + 1e-7)).sum(-1)).sum()


def unused_codes(usage: Array) -> Mean:
    """The share of the entries that is not used, `(G V - perplexity) / (G V)`: the authors' form of arXiv 2006.11477, eq. 4."""
    return Mean(1 - perplexity(usage) / usage.size, jnp.ones((), usage.dtype))
