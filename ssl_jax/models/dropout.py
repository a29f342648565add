"""Dropout (Srivastava et al. 2014): where a transformer drops single numbers in training, and how."""

from __future__ import annotations

from dataclasses import dataclass, fields

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError


@dataclass(frozen=True)
class Dropout:
    """The probability to drop a number, by place. BERT and GPT-2 drop 0.1 of all but `hidden`, T5 0.1 of all."""

    tokens: float = 0.0  # what enters the stack: embeddings
    weights: float = 0.0  # attention weights; no fused kernel does that
    hidden: float = 0.0  # the hidden layer of MLPs
    branch: float = 0.0  # what a branch (attention, MLP) adds to its input

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) < 1:
                raise UserError(
                    f"dropout.{field.name}={getattr(self, field.name)}: a probability of at least 0 and below 1"
                )


def dropped(key: Array, x: Array, rate: float) -> Array:
    """`x` with each number zero with probability `rate`, and divided by the probability to stay otherwise."""
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), jnp.zeros_like(x))
