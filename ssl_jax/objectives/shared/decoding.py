"""Writing: one token after another, each chosen from what the model says of those before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.models.cache import CACHE, widened

Text = tuple[Array, Array, Array]  # tokens, segments, positions, each [B, S]
Read = Callable[
    [Text, dict | None], tuple[Array, dict]
]  # a text and what came before -> states [B, S, D], and the cache


@dataclass(frozen=True)
class Sampler:
    """How a token is chosen from logits.

    temperature: what logits are divided by; 0 chooses the largest.
    top_k: only the so many largest can be chosen; 0: all.
    nucleus: only the largest that together have this probability can be chosen (Holtzman et al. 2019, arXiv 1904.09751); 1: all.
    """

    temperature: float = 1.0
    top_k: int = 0
    nucleus: float = 1.0

    def __post_init__(self) -> None:
        for ok, key, rule in (
            (self.temperature >= 0, "temperature", "0 (the largest logit) or more"),
            (self.top_k >= 0, "top_k", "0 (all tokens) or more"),
            (0 < self.nucleus <= 1, "nucleus", "above 0 and at most 1 (all tokens)"),
        ):
            if not ok:
                raise UserError(f"{key}={getattr(self, key)}: must be {rule}")

    def __call__(self, key: Array, logits: Array) -> Array:
        """Logits [B, V] -> tokens int [B]. The temperature comes first, then the largest, then the nucleus."""
        if self.temperature == 0:
            return logits.argmax(axis=-1)
        logits = logits / self.temperature
        logits = of_largest(logits, self.top_k) if self.top_k else logits
        return jax.random.categorical(key, of_nucleus(logits, self.nucleus) if self.nucleus < 1 else logits)


GREEDY = Sampler(temperature=0.0)


def of_largest(logits: Array, count: int) -> Array:
    """Logits [B, V] with all below the `count` largest at minus infinity."""
    least = jax.lax.top_k(logits, min(count, logits.shape[-1]))[0][:, -1:]
    return jnp.where(logits >= least, logits, -jnp.inf)


def of_nucleus(logits: Array, share: float) -> Array:
    """The same for all but the fewest whose probabilities add up to `share`."""
    falling = jnp.sort(logits, axis=-1, descending=True)
    chance = jax.nn.softmax(falling, axis=-1)
    inside = jnp.cumsum(chance, axis=-1) - chance < share  # those before it do not yet have it
    least = jnp.where(inside, falling, jnp.inf).min(axis=-1, keepdims=True)
    return jnp.where(logits >= least, logits, -jnp.inf)


def reader(module: Any, params: dict, *rest: Any, method: str = "__call__") -> Read:
    """`module` as what reads a text behind another; `rest` are the arguments of `method` after the text's arrays."""

    def read(text: Text, cache: dict | None) -> tuple[Array, dict]:
        variables = {"params": params} | ({} if cache is None else {CACHE: cache})
        states, kept = module.apply(variables, *text, *rest, method=method, mutable=[CACHE])
        return states, kept[CACHE]

    return read


def prompted(tokens: Array, lengths: Array) -> Text:
    """Prompts int [B, P], of which the first `lengths` [B] tokens of each row are real, as a text."""
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    real = places < lengths[:, None]
    return tokens, real.astype(jnp.int32), jnp.where(real, places, 0)


def written(
    read: Read,
    logits_of: Callable[[Array], Array],
    prompt: Text,
    key: Array,
    new: int,
    sampler: Sampler = GREEDY,
    end: int | None = None,
) -> Array:
    """`new` tokens int [B, new] that go on with `prompt`; behind an `end` there are only more of it.

    Args:
        read: what makes states of a text behind another.
        logits_of: states [B, D] -> logits [B, V].
        prompt: texts whose real tokens come first in their rows, at least one each.
        key: of all choices.
        new: how many tokens are written.
        sampler: how a token is chosen.
        end: the sign after which nothing more is said.
    """
    lengths = prompt[1].sum(axis=1)
    states, cache = read(prompt, None)
    last = jnp.take_along_axis(states, lengths[:, None, None] - 1, axis=1)[:, 0]

    def step(carry: tuple[dict, Array, Array], at: tuple[Array, Array]) -> tuple[tuple[dict, Array, Array], Array]:
        (cache, state, over), (number, fresh) = carry, at
        token = jnp.where(over, end or 0, sampler(fresh, logits_of(state))).astype(jnp.int32)
        states, cache = read((token[:, None], jnp.ones_like(token)[:, None], (lengths + number)[:, None]), cache)
        return (cache, states[:, 0], over | (False if end is None else token == end)), token

    start = widened(cache, new), last, jnp.zeros(len(lengths), bool)
    _, tokens = jax.lax.scan(step, start, (jnp.arange(new), jax.random.split(key, new)))
    return tokens.T
