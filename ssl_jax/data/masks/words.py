"""Which tokens of a text are hidden, with a static count: single tokens, whole words, spans of words.

A row of `places` [K] comes with `chosen` [K] bool: K is the largest budget of any row, and what a row does not use is not
chosen. All functions are of one row [T], for `vmap`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

LONGEST_SPAN = 10
SPAN_STOP = 0.2  # of the geometric distribution of SpanBERT's spans, cut to LONGEST_SPAN words: 3.8 in the mean


class Hidden(NamedTuple):
    """The places int [K] of hidden tokens, and which of them count. Spans also have the places of their two neighbours [K]."""

    places: Array
    chosen: Array
    left: Array
    right: Array


def budget(length: Array, ratio: float, most: int) -> Array:
    """How many of `length` tokens, signs among them, are hidden: `ratio` of them, at least 1 and at most `most`."""
    return jnp.clip(jnp.round(length * ratio).astype(jnp.int32), 1, most)


def hidden_tokens(key: Array, candidates: Array, count: Array, most: int) -> Hidden:
    """`count` of the `candidates` bool [T], each as likely."""
    order = jnp.argsort(jnp.where(candidates, jax.random.uniform(key, candidates.shape), 2.0))
    taken = jnp.zeros_like(candidates).at[order].set(jnp.arange(len(order)) < count) & candidates
    return _listed(taken, most)


def hidden_words(key: Array, candidates: Array, starts: Array, count: Array, most: int) -> Hidden:
    """Whole words in random order until `count` tokens are hidden; a word that would exceed it is passed over.

    `starts` bool [T] marks the first token of each word (Devlin et al. 2018; whole-word masking of the authors' code).
    """
    word = jnp.cumsum(starts & candidates) * candidates  # 0 is no word
    noise = jax.random.uniform(key, candidates.shape)
    size = jnp.zeros(len(word) + 1, jnp.int32).at[word].add(candidates)[1:]

    def take(total: Array, n: Array) -> tuple[Array, Array]:
        fits = (n > 0) & (total + n <= count)
        return total + n * fits, fits

    order = jnp.argsort(noise)
    _, fits = jax.lax.scan(take, jnp.int32(0), size[order])
    chosen = jnp.zeros(len(word) + 1, bool).at[order + 1].set(fits)
    return _listed(chosen[word] & candidates, most)


def hidden_spans(key: Array, candidates: Array, starts: Array, count: Array, most: int) -> Hidden:
    """Spans of whole words until `count` tokens are hidden (Joshi et al. 2019, arXiv 1907.10529, section 3.1).

    A span begins at a random word; its length in words is geometric. One that meets another or the end of the text, or would
    exceed the count, is drawn again, 4 K times in all.
    """
    word = jnp.cumsum(starts & candidates) * candidates
    words = word.max()

    def add(state: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
        taken, span = state
        first, last = _span(key, words)
        inside = (word >= first) & (word <= last) & candidates
        beside = jnp.roll(inside, 1) | jnp.roll(inside, -1)  # spans do not touch, so that each has its neighbours
        free = ~jnp.any((inside | beside) & (taken > 0)) & (last <= words)
        fits = free & ((taken > 0).sum() + inside.sum() <= count)
        return (jnp.where(inside & fits, span, taken), span + fits), None

    start = (jnp.zeros(len(word), jnp.int32), jnp.int32(1))
    (taken, _), _ = jax.lax.scan(add, start, jax.random.split(key, 4 * most))
    hidden = _listed(taken > 0, most)
    return hidden._replace(left=_edge(taken, hidden.places, -1), right=_edge(taken, hidden.places, 1))


def _span(key: Array, words: Array) -> tuple[Array, Array]:
    """The first and last word of a random span, from 1 on."""
    at, long = jax.random.split(key)
    first = jax.random.randint(at, (), 1, jnp.maximum(words, 1) + 1)
    lengths = jnp.arange(1, LONGEST_SPAN + 1)
    length = jax.random.choice(long, lengths, p=_geometric(lengths))
    return first, first + length - 1


def _geometric(lengths: Array) -> Array:
    chance = SPAN_STOP * (1 - SPAN_STOP) ** (lengths - 1)
    return chance / chance.sum()


def _listed(taken: Array, most: int) -> Hidden:
    """The places of `taken` [T] in their order, filled up with others."""
    places = jnp.argsort(~taken, stable=True)[:most]
    return Hidden(places, taken[places], places, places)


def _edge(taken: Array, places: Array, step: int) -> Array:
    """The nearest place beside the span of each of `places`, to the left (-1) or right (1)."""
    index = jnp.arange(len(taken))
    same = taken[places][:, None] == taken  # [K, T]
    outside = ~same & ((index - places[:, None]) * step > 0)
    distance = jnp.where(outside, jnp.abs(index - places[:, None]), len(taken))
    return jnp.clip(places + step * distance.min(axis=1), 0, len(taken) - 1)
