"""Cross-entropy with class labels."""

from __future__ import annotations

import jax.numpy as jnp
import optax
from jax import Array

from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.precision import wide


def classification(logits: Array, labels: Array) -> tuple[Mean, Mean]:
    """Softmax cross-entropy and accuracy of logits [..., K] against labels [...] in [0, K), both averaged."""
    logits = logits.astype(wide(logits.dtype))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return mean_of(loss), mean_of((logits.argmax(-1) == labels).astype(logits.dtype))
