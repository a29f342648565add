"""Cross-entropy with class labels."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.vocabulary import softmax_cross_entropy


def classification(logits: Array, labels: Array) -> tuple[Mean, Mean]:
    """Softmax cross-entropy and accuracy of logits [..., K] against labels [...] in [0, K), both averaged."""
    loss = softmax_cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
    return loss, mean_of((logits.argmax(-1) == labels).astype(wide(logits.dtype)))


def with_chance(metrics: dict[str, Mean], classes: int) -> dict[str, Mean]:
    """`metrics`, and `chance`: the accuracy of guessing one of `classes` that are equally frequent."""
    return metrics | {"chance": mean_of(jnp.full(1, 1 / classes))}
