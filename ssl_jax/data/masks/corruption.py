"""Texts that a model writes anew: spans behind sentinels (T5), and sentences out of order with holes (BART).

All functions are of one row, for `vmap`: tokens int [T] of which the first `length` are real. Everything has a static shape.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

SPAN = 3.0  # tokens of T5's spans, and words of BART's, in the mean
RATIO = {"t5": 0.15, "bart": 0.3}


class Corrupted(NamedTuple):
    """What is read and what is to be written, int, and how many of each are real."""

    source: Array
    source_length: Array
    target: Array
    target_length: Array


class Counts(NamedTuple):
    """Tokens of a text, and what becomes of them in T5's corruption."""

    noise: int  # hidden tokens
    spans: int
    source: int  # tokens that are read, with the end sign
    target: int  # tokens that are written, with the end sign


def t5_counts(length: int, ratio: float = RATIO["t5"], span: float = SPAN) -> Counts:
    """The counts of a text of `length` >= 2 tokens (Raffel et al. 2019, arXiv 1910.10683; `random_spans_noise_mask` of T5)."""
    noise = min(max(round(length * ratio), 1), length - 1)
    spans = max(1, round(noise / span))
    return Counts(noise, spans, length - noise + spans + 1, noise + spans + 1)


def t5_room(longest: int, ratio: float = RATIO["t5"], span: float = SPAN) -> tuple[int, int]:
    """The lengths of source and target that hold every text of at most `longest` tokens."""
    counts = [t5_counts(n, ratio, span) for n in range(2, longest + 1)]
    return max(c.source for c in counts), max(c.target for c in counts)


def t5_corrupted(
    key: Array, tokens: Array, length: Array, first: int, end: int, ratio: float = RATIO["t5"], span: float = SPAN
) -> Corrupted:
    """Spans of `tokens` [T] are replaced by sentinels, which count down from `first`; the target has what stood there.

    Which spans: noise and text are cut into as many parts each, at random, and take turns, text first. The counts are those of
    `t5_counts` for `length`.

    Fidelity: as T5's code, whose 568 tokens become 512 and 114: no sentinel stands behind the last span, where the paper's figure
    has one.
    """
    size = len(tokens)
    room = t5_room(size, ratio, span)
    table = np.array([(0, 0)] * 2 + [t5_counts(n, ratio, span)[:2] for n in range(2, size + 1)])
    noise, spans = jnp.asarray(table)[jnp.clip(length, 2, size)]
    most = int(table[:, 1].max())
    keys = jax.random.split(key)
    kept, hidden = (_parts(k, n, spans, size, most) for k, n in zip(keys, (length - noise, noise), strict=True))
    ends = jnp.cumsum(jnp.stack([kept, hidden], axis=1).reshape(-1))
    part = jnp.searchsorted(ends, jnp.arange(size), side="right")
    real, number = jnp.arange(size) < length, part // 2
    gone = (part % 2 == 1) & real
    opens = gone & ~jnp.pad(gone, (1, 0))[:-1]
    source = _compact(jnp.where(gone, first - number, tokens), real & (~gone | opens), room[0])
    told = jnp.zeros(room[1], jnp.int32)
    place = jnp.where(gone, jnp.cumsum(gone) + number, room[1])  # a sentinel stands before each span
    told = told.at[place].set(tokens, mode="drop")
    sign = jnp.where(opens, place - 1, room[1])
    told = told.at[sign].set(first - number, mode="drop")
    told = told.at[noise + spans].set(end)
    count = length - noise + spans
    return Corrupted(source.at[count].set(end), count + 1, told, noise + spans + 1)


def _parts(key: Array, total: Array, parts: Array, size: int, most: int) -> Array:
    """The sizes [most] of `parts` random parts of `total` things, none empty; what is over is 0."""
    slot = jnp.arange(size)
    noise = jnp.where((slot > 0) & (slot < total), jax.random.uniform(key, (size,)), 2.0)
    cut = jnp.zeros(size, bool).at[jnp.argsort(noise)].set(slot < parts - 1)
    number = jnp.where(slot < total, jnp.cumsum(cut), most)
    return jnp.zeros(most, jnp.int32).at[number].add(1, mode="drop")


def _compact(tokens: Array, keep: Array, room: int) -> Array:
    """The tokens that are kept, in their order, then zeros: [room]."""
    place = jnp.where(keep, jnp.cumsum(keep) - 1, room)
    return jnp.zeros(room, jnp.int32).at[place].set(tokens, mode="drop")


def poisson_table(mean: float = SPAN, least: float = 1e-7) -> np.ndarray:
    """Probabilities of 0, 1, 2, ... as far as they are above `least` behind the peak, summing to one."""
    chances = [math.exp(-mean)]
    while len(chances) <= mean or chances[-1] >= least:
        chances.append(chances[-1] * mean / len(chances))
    return np.array(chances[:-1]) / sum(chances[:-1])


def bart_corrupted(
    key: Array,
    tokens: Array,
    length: Array,
    starts: Array,
    stops: Array,
    mask: int,
    size: int,
    ratio: float = RATIO["bart"],
    random: float = 0.1,
) -> Corrupted:
    """Sentences of `tokens` [T] in random order, and `ratio` of the words in spans, each behind one mask (Lewis et al. 2019,
    arXiv 1910.13461, section 2.2). The target is the text as it was.

    A span has Poisson(3) words; one of none is a mask between two tokens. `starts` [T] marks the first tokens of words, `stops`
    [T] the last of sentences. Of the masks, `random` are any token of the `size` instead. The first and last token stay.

    Fidelity: as the authors' code; masks without a word stand anywhere but at the ends, as many as there is room for.
    """
    order, infill, insert = jax.random.split(key, 3)
    real = jnp.arange(len(tokens)) < length
    moved = sentence_order(order, stops, real)
    text, starts = tokens[moved], starts[moved] & real
    inner = real & (jnp.arange(len(tokens)) > 0) & (jnp.arange(len(tokens)) < length - 1)
    keep, masked, extra = holes(infill, starts & inner, inner, ratio)
    keep = (keep | ~inner) & real
    signs = _masks(jax.random.fold_in(infill, 1), len(tokens), mask, size, random)
    text = _compact(jnp.where(masked, signs, text), keep, len(tokens))
    count = keep.sum()
    extra = jnp.minimum(extra, len(tokens) - count)
    source = _inserted(
        insert, text, count, extra, _masks(jax.random.fold_in(insert, 1), len(tokens), mask, size, random)
    )
    return Corrupted(source, count + extra, tokens, length)


def sentence_order(key: Array, stops: Array, real: Array) -> Array:
    """Where each token [T] comes from when the sentences, which end at `stops`, are in random order; first and last stay."""
    place = jnp.arange(len(stops))
    sentence = jnp.cumsum(jnp.pad(stops, (1, 0))[:-1])
    rank = jax.random.permutation(key, len(stops) + 1)[sentence] + 1
    last = real & ~jnp.pad(real, (0, 1))[1:]
    rank = jnp.where(place == 0, 0, jnp.where(last | ~real, len(stops) + 2, rank))
    return jnp.lexsort((place, rank))


def holes(key: Array, starts: Array, inner: Array, ratio: float) -> tuple[Array, Array, Array]:
    """Which tokens [T] are kept, which of them become a mask, and how many masks stand for nothing."""
    lengths, begins = jax.random.split(key)
    words = starts.sum()
    wanted = jnp.ceil(words * ratio).astype(jnp.int32)
    table = poisson_table()
    drawn = jax.random.choice(lengths, len(table), (len(starts),), p=jnp.asarray(table))
    before = jnp.cumsum(drawn) - drawn
    used = (before < wanted) & (words > 0)  # until there are enough
    drawn = jnp.where(used, jnp.minimum(drawn, wanted - before), 0)
    nothing = (used & (drawn == 0)).sum()
    word = jnp.cumsum(starts) - 1  # of each token
    noise = jnp.where(jnp.arange(len(starts)) < words, jax.random.uniform(begins, starts.shape), 2.0)
    spans = jnp.argsort(~(drawn > 0), stable=True)  # those that have words first
    length = (
        jnp.zeros(len(starts), jnp.int32).at[jnp.argsort(noise)].set(drawn[spans])
    )  # of the span that begins at a word
    reach = jax.lax.associative_scan(jnp.maximum, jnp.where(length > 0, jnp.arange(len(starts)) + length, 0))
    inside = jnp.pad(reach, (1, 0))[:-1] > jnp.arange(len(starts))  # a word that a span before it covers
    opened = (length > 0) & ~inside
    covered = (length > 0) | inside
    at = jnp.clip(word, 0)
    belongs = inner & (word >= 0)
    masked = belongs & opened[at] & starts
    return ~(belongs & covered[at]) | masked, masked, nothing


def _masks(key: Array, count: int, mask: int, size: int, random: float) -> Array:
    """Masks [count], some of them another token."""
    draw, other = jax.random.split(key)
    others = jax.random.randint(other, (count,), 0, size)
    return jnp.where(jax.random.uniform(draw, (count,)) < random, others, mask)


def _inserted(key: Array, tokens: Array, count: Array, extra: Array, masks: Array) -> Array:
    """`tokens` [T], of which `count` are real, with `extra` masks at random places between the first and the last."""
    place = jnp.arange(len(tokens))
    inner = (place > 0) & (place < count + extra - 1)
    order = jnp.argsort(jnp.where(inner, jax.random.uniform(key, tokens.shape), 2.0))
    new = jnp.zeros(len(tokens), bool).at[order].set(place < extra)
    return jnp.where(new, masks, tokens[jnp.clip(jnp.cumsum(~new) - 1, 0)]) * (place < count + extra)
