"""What language models share: a text of the views, and the last layer, tied to the embedding or not."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike

from ssl_jax.data.panels import Texts
from ssl_jax.data.text.views import TextViews
from ssl_jax.devices.mesh import shard_words
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.streamed.classes import linear_softmax_cross_entropy, linear_told_words
from ssl_jax.losses.vocabulary import ToldWords
from ssl_jax.models.text import WordTable
from ssl_jax.objectives.shared.forward import arrays_of, single


def text_of(given: Any) -> tuple[Array, ...]:
    """The arrays [B, T] of the only view of each text, from views [B, 1, T]."""
    return arrays_of(single(given))


def last_layers(encoder: nn.Module, tied: bool) -> dict[str, nn.Module]:
    """The modules of the last layer beside the encoder: none, or a table of its own."""
    return {} if tied else {"words": WordTable(encoder.vocabulary, encoder.width)}


def table_of(params: dict) -> Array:
    """The last layer [V, D]: its own table, or the embedding."""
    return params["words"]["table"] if "words" in params else params["encoder"]["tokens"]["embedding"]


def word_loss(
    states: Array, table: Array, words: Array, weights: Array, bias: Array | None = None, method: str = "auto"
) -> Mean:
    """Cross-entropy of `states` [B, K, D] with the vocabulary `table` [V, D], at the `words` [B, K] that `weights` count.

    The products are of the dtype of the states. The logits of a whole batch are never held at once where they are large.
    """
    rows, table = states.reshape(-1, states.shape[-1]), shard_words(table)
    return linear_softmax_cross_entropy(
        rows, table.astype(rows.dtype), words.reshape(-1), bias, weights.reshape(-1).astype(jnp.float32), method
    )


def told_words(
    states: Array,
    table: Array,
    words: Array,
    weights: Array,
    bias: Array | None = None,
    z: float = 0.0,
    method: str = "auto",
) -> ToldWords:
    """As `word_loss`, with what each row's first guess was [B, K], in the same pass; `z` weighs the squared log-sums."""
    rows, table = states.reshape(-1, states.shape[-1]), shard_words(table)
    flat = words.reshape(-1), bias, weights.reshape(-1).astype(jnp.float32)
    told = linear_told_words(rows, table.astype(rows.dtype), *flat, z, method)
    return told._replace(guess=told.guess.reshape(words.shape))


def accuracy(told: ToldWords, words: Array, weights: Array) -> Mean:
    """How many of the `words` [B, K] that `weights` count were the first guess."""
    return mean_of((told.guess == words).astype(jnp.float32), weights.astype(jnp.float32))


def validation(told: ToldWords, words: Array, weights: Array) -> dict[str, Mean]:
    """`accuracy`, and nats for a word."""
    return {"accuracy": accuracy(told, words, weights), "nats": told.cross_entropy}


def bits_per_byte(nats: Mean, words: Array, weights: Array, sizes: np.ndarray | None) -> dict[str, Mean]:
    """`bits_per_byte` of `words` [B, K] that stand for `sizes` [V] bytes; {} where nobody says for how many."""
    if sizes is None:
        return {}
    return {"bits_per_byte": Mean(nats.total / math.log(2), (jnp.asarray(sizes)[words] * weights).sum())}


def told_texts(augment: TextViews, tokens: ArrayLike, segments: ArrayLike, marked: ArrayLike, mark: str) -> Texts:
    """Texts [B, T] for people, with a mark on the tokens that are `marked` [B, T]."""
    arrays = (np.asarray(x) for x in (tokens, segments, marked))
    rows = [
        [list(zip(augment.pieces(t[s > 0]), np.where(m, mark, "")[s > 0], strict=True))]
        for t, s, m in zip(*arrays, strict=True)
    ]
    return Texts(rows, ("text",))


def told_hidden(
    augment: TextViews,
    tokens: ArrayLike,
    segments: ArrayLike,
    hidden: tuple[ArrayLike, ArrayLike, ArrayLike],
    guesses: np.ndarray | None = None,
) -> list[list[tuple[str, str]]]:
    """Pieces of texts [B, T] for people. `hidden` are places, weights and words [B, K]: marked as hidden, or as guessed."""
    shown, real = np.array(tokens), np.asarray(segments) > 0
    marks = np.full(shown.shape, "", dtype=object)
    for row, (at, weights, words) in enumerate(zip(*map(np.asarray, hidden), strict=True)):
        here = at[weights > 0]
        marks[row, here] = "hidden"
        if guesses is not None:
            shown[row, here] = guesses[row][weights > 0]
            marks[row, here] = np.where(shown[row, here] == words[weights > 0], "right", "wrong")
    return [list(zip(augment.pieces(t[r]), m[r], strict=True)) for t, m, r in zip(shown, marks, real, strict=True)]


def following(tokens: Array, segments: Array) -> tuple[Array, Array]:
    """What comes after each token of [B, T], and weights: 1 where that is in the same document, and no padding.

    The last column has weight 0, so that rows keep their length.
    """
    after, same = jnp.roll(tokens, -1, axis=1), jnp.roll(segments, -1, axis=1) == segments
    inside = jnp.arange(tokens.shape[1]) < tokens.shape[1] - 1
    return after, (same & inside & (segments > 0)).astype(jnp.float32)
