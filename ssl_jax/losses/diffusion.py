"""Masked discrete diffusion: how much is hidden when, what it costs, and a step back (Sahoo et al. 2024, arXiv 2406.07524)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

NEVER = -1e6  # a logit that no softmax gives any weight


def stratified_times(uniform: Array, part: Array, parts: int, least: float) -> Array:
    """Times [B] in [least, 1], each in its own `part` [B] of the `parts` of that, from `uniform` [B] in [0, 1)."""
    return least + (1 - least) * ((uniform / parts + part / parts) % 1)


def move_chance(times: Array, epsilon: float) -> Array:
    """The probability that a token is hidden at each time: `1 - exp(-sigma)` of the log-linear schedule, (1 - epsilon) t."""
    return (1 - epsilon) * times


def loss_weight(times: Array, epsilon: float) -> Array:
    """`sigma' / (exp(sigma) - 1)` of the log-linear schedule (eq. 11): 1 / t."""
    rate = (1 - epsilon) / (1 - move_chance(times, epsilon))
    return rate / jnp.expm1(-jnp.log1p(-move_chance(times, epsilon)))


def substituted(logits: Array, tokens: Array, mask: int) -> Array:
    """Log-probabilities [B, T, V] of what tokens were (SUBS, section 3.2.3): never the mask, and what is seen stays."""
    log = jax.nn.log_softmax(logits.at[..., mask].set(NEVER))
    seen = jnp.where(jnp.arange(logits.shape[-1]) == tokens[..., None], 0.0, NEVER)
    return jnp.where((tokens == mask)[..., None], log, seen)


def step_back(log_chance: Array, tokens: Array, now: Array, then: Array, mask: int) -> Array:
    """Probabilities [B, T, V] of the tokens at time `then` < `now`, [B] each, given those at `now` (eq. 7).

    A hidden token stays so with probability then / now. `log_chance` is `substituted`.
    """
    stay = (then / now)[:, None, None]
    chance = jnp.exp(log_chance) * (1 - stay)
    chance = chance.at[..., mask].set(stay[..., 0])
    seen = jnp.arange(log_chance.shape[-1]) == tokens[..., None]
    return jnp.where((tokens == mask)[..., None], chance, seen)
