"""Contrastive prediction of latents: what comes k steps later, among other latents.

Shapes: `predicted` [K, B, N, D] is made at each step of a sequence for 1 to K steps later, `latents` are [B, N, D], and `valid`
[B, N] says which steps count: to predict from, to predict, and as negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.mean import Mean, mean_of


class Told(NamedTuple):
    """The cross-entropy, and how often the right latent was the first guess."""

    loss: Mean
    accuracy: Mean


class Predictive(Protocol):
    """Which latents are the negatives."""

    def __call__(self, predicted: Array, latents: Array, valid: Array) -> Told:
        """The mean over all (k, step, sequence) that count, each with the same weight."""
        ...


def among_sequence(predicted: Array, latents: Array, valid: Array) -> Told:
    """Cross-entropy of `p_k[b, t] . z[b, t + k]` among those of all `z[b, s]`, s >= k (van den Oord et al. 2018, eq. 4)."""
    return _total([_among_rows(*at) for at in _steps_later(predicted, latents, valid)])


def among_batch(predicted: Array, latents: Array, valid: Array) -> Told:
    """Cross-entropy of `p_k[b, t] . z[b, t + k]` among those of `z[b', t + k]` of all sequences b' of the batch."""
    turned = [tuple(jnp.swapaxes(x, 0, 1) for x in at) for at in _steps_later(predicted, latents, valid)]
    return _total([_among_rows(*at) for at in turned])


NEGATIVES: Mapping[str, Predictive] = {"batch": among_batch, "sequence": among_sequence}


def _steps_later(predicted: Array, latents: Array, valid: Array) -> list[tuple[Array, Array, Array, Array]]:
    """For each k: predictions and their targets [B, N - k, D], which targets are valid, and which pairs count [B, N - k]."""
    steps, length = len(predicted), latents.shape[1]
    return [
        (predicted[k - 1, :, : length - k], latents[:, k:], valid[:, k:], valid[:, k:] & valid[:, : length - k])
        for k in range(1, steps + 1)
    ]


def _among_rows(predicted: Array, targets: Array, valid: Array, counted: Array) -> Told:
    """Row r of each group [G, R, D] is told from the valid rows of its group; those that are `counted` [G, R] are."""
    logits = jnp.einsum("grd,gsd->grs", predicted, targets, preferred_element_type=wide(targets.dtype))
    logits = jnp.where(valid[:, None, :], logits, jnp.finfo(logits.dtype).min)
    nats = jax.nn.logsumexp(logits, axis=-1) - jnp.diagonal(logits, axis1=1, axis2=2)
    right = logits.argmax(-1) == jnp.arange(logits.shape[-1])
    weights = counted.astype(logits.dtype)
    return Told(mean_of(jnp.where(counted, nats, 0), weights), mean_of(right.astype(logits.dtype), weights))


def _total(told: list[Told]) -> Told:
    return Told(*(Mean(*(sum(parts) for parts in zip(*means, strict=True))) for means in zip(*told, strict=True)))
