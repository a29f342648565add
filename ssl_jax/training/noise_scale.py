"""The gradient-noise scale: how many examples a batch may have before more of them add little (McCandlish et al. 2018)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ssl_jax.objectives.base import Batch
from ssl_jax.training.step import Setup, TrainState, value_and_gradient


def gradient_noise(setup: Setup, state: TrainState, batch: Batch, parts: int) -> Array:
    """The simple noise scale in examples, from the gradients of `parts` parts of a batch (arXiv 1812.06162, appendix A.1).

    One batch gives a rough number; average it over checks. NaN where the batch's gradient is smaller than noise alone would make
    it. Of losses that compare the rows of a batch, each part compares its own: the noise of smaller batches.
    """
    whole = replace(setup, accumulation=1, gradient_cache=1)
    rows = {name: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1) for name, x in batch.items()}

    def add(total: Any, part: Batch) -> tuple[Any, Array]:
        _, gradient = value_and_gradient(whole, state, part)
        return jax.tree.map(jnp.add, total, gradient), jnp.square(optax.global_norm(gradient))

    total, squares = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, state.params), rows)
    size = len(batch["_id"])
    return noise_scale(squares.mean(), jnp.square(optax.global_norm(total) / parts), size // parts, size)


def noise_scale(small: Array, big: Array, few: int, many: int) -> Array:
    """`trace(covariance) / |gradient|^2` from squared norms of gradients of `few` examples (their mean) and of `many`.

    Both are unbiased: |G|^2 = (many big - few small) / (many - few), S = (small - big) / (1/few - 1/many).
    """
    signal = (many * big - few * small) / (many - few)
    noise = (small - big) / (1 / few - 1 / many)
    return jnp.where(signal > 0, noise / jnp.where(signal > 0, signal, 1), jnp.nan)
