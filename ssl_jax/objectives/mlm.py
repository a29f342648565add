"""Masked language modelling: hidden tokens are told from those on both sides.

Devlin, Chang, Lee, Toutanova 2018, "BERT", arXiv 1810.04805; whole words of the authors' code; spans and their boundary loss of
Joshi et al. 2019, "SpanBERT", arXiv 1907.10529.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.data.masks.words import Hidden, budget, hidden_spans, hidden_tokens, hidden_words
from ssl_jax.data.panels import Panel, Texts
from ssl_jax.data.text.views import TextViews
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.vocabulary import ToldWords
from ssl_jax.models.grid import take_tokens
from ssl_jax.models.text import SpanHead, WordHead
from ssl_jax.objectives.base import Batch, Column, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, drawing
from ssl_jax.objectives.shared.language import (
    accuracy,
    last_layers,
    table_of,
    text_of,
    told_hidden,
    told_words,
    validation,
    word_loss,
)

UNITS = ("token", "word", "span")
MASKED, CHANGED = 0.8, 0.9  # below the first a hidden token reads as the mask, below the second as another token


class Masked(NamedTuple):
    """One text as the model reads it, and what was hidden of it."""

    tokens: Array
    hidden: Hidden
    words: Array


@dataclass(frozen=True)
class MLM(Objective):
    """`mask_ratio` of the tokens are hidden; of ten, eight read as the mask, one as any token, one as itself.

    unit: what is hidden at once: a token, a whole word, or a span of words, which is replaced as one and has the boundary loss.
    most: hidden tokens of a row at most; 0 is what `mask_ratio` makes of the longest row.
    tied: the last layer is the embedding.
    method: how the loss over the vocabulary is computed (`losses/streamed/cost.py`).

    Fidelity: as the authors' code: the count is of the length with its signs, rounded, at least 1; any token of the vocabulary
    may stand in; masks are drawn anew in every epoch (RoBERTa). Without next-sentence prediction, as RoBERTa and SpanBERT.
    """

    encoder: nn.Module
    augment: TextViews
    mask_ratio: float = 0.15
    unit: str = "token"  # token | word | span
    most: int = 0
    tied: bool = True
    method: str = "auto"

    validated = (
        Column(title="hidden words", value="accuracy", unit="percent"),
        Column(title="perplexity of hidden words", value="nats", unit="exp"),
    )

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise UserError(f"objective.mask_ratio={self.mask_ratio} must be between 0 and 1; BERT hides 0.15")
        if self.unit not in UNITS:
            raise UserError(f"objective.unit={self.unit!r} is unknown; use one of {', '.join(UNITS)}")
        self.augment.words.require("mask", by="mlm")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder, its head, a last layer of its own unless it is tied, and the head of spans."""
        encoder = self.encoder
        head = WordHead(encoder.vocabulary, encoder.norm_epsilon, encoder.initial_std, encoder.dtype)
        spans = {"span": SpanHead(encoder.length, encoder.norm_epsilon, encoder.dtype)} if self.unit == "span" else {}
        return {"encoder": encoder, "head": head, **last_layers(encoder, self.tied), **spans}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of all modules."""
        keys = dict(zip(self.modules, jax.random.split(key, len(self.modules)), strict=True))
        state = jnp.zeros((1, 1, self.encoder.width), self.encoder.dtype)
        place = jnp.zeros((1, 1), jnp.int32)
        inputs = {"encoder": text_of(self.given(views)), "head": (state,), "words": (), "span": (state, state, place)}
        return State({n: m.init(keys[n], *inputs[n])["params"] for n, m in self.modules.items()}, {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The texts with hidden tokens, and of each the places, words and weights [B, K] of what is hidden.

        Spans also have `left` and `right` [B, K], the places of their neighbours.
        """
        views = self.augment(keys.example, batch)
        tokens, segments, _ = text_of(self.given(views))
        masked = jax.vmap(self._masked)(keys.example, tokens, segments)
        spans = {"left": masked.hidden.left, "right": masked.hidden.right} if self.unit == "span" else {}
        hidden = {
            "at": masked.hidden.places,
            "words": masked.words,
            "weights": masked.hidden.chosen.astype(jnp.float32),
        }
        return views | {self.view: masked.tokens[:, None]} | hidden | spans

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy of the hidden tokens; of spans also from their two neighbours (SpanBERT, eq. 2)."""
        states = self._states(params, views, key)
        rows, bias = applied(self.modules["head"], params["head"], take_tokens(states, views["at"]))
        told = self._told_words(params, rows, bias, views)
        losses = {"mlm": told.loss}
        if self.unit == "span":
            losses["boundary"] = self._nats(params, self._from_boundaries(params, states, views), bias, views)
        return Out(losses, {"accuracy": accuracy(told, views["words"], views["weights"])})

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How many hidden tokens are the first guess, and nats for one."""
        told = self._told_words(params, *self._rows(params, views), views)
        return validation(told, views["words"], views["weights"])

    def pseudo_nats(self, params: dict, tokens: Array, segments: Array, positions: Array) -> Mean:
        """Nats for a token of one text [T], each hidden alone behind a mask and told from all others, signs left out.

        The exponential is the pseudo-perplexity of Salazar, Liang, Nguyen, Kirchhoff 2020, arXiv 1910.14659, eq. 1 and 2.
        """
        every = jnp.arange(len(tokens))
        counted = (segments > 0) & ~jnp.isin(tokens, jnp.asarray(self.augment.words.signs))
        hidden = jnp.where(jnp.eye(len(tokens), dtype=bool), self.augment.words.mask or 0, tokens)
        text = (hidden, *(jnp.broadcast_to(x, hidden.shape) for x in (segments, positions)))
        views = {name: x[:, None] for name, x in zip(self.augment.inputs, text, strict=True)}
        views |= {"at": every[:, None], "words": tokens[:, None], "weights": counted[:, None].astype(jnp.float32)}
        return self._nats(params, *self._rows(params, views), views)

    def preview(self, views: Views) -> dict[str, Panel]:
        """The texts, with hidden tokens marked by what the model reads there."""
        return {"masks": Texts([[row] for row in self._told(views)], ("what the model reads",))}

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """The texts as the model reads them, and as it fills them in."""
        guesses = np.asarray(self._told_words(params, *self._rows(params, views), views).guess)
        read = self._told(views)
        filled = self._told(views, guesses)
        return {"guesses": Texts([[a, b] for a, b in zip(read, filled, strict=True)], ("read", "filled in"))}

    def _masked(self, key: Array, tokens: Array, segments: Array) -> Masked:
        words = self.augment.words
        choose, kind, other = (jax.random.fold_in(key, i) for i in (1, 2, 3))
        real = segments > 0
        candidates = real & ~jnp.isin(tokens, jnp.asarray(words.signs))
        most = self.most or max(1, round(len(tokens) * self.mask_ratio))
        count = jnp.minimum(budget(real.sum(), self.mask_ratio, most), candidates.sum())
        hidden = self._hidden(choose, candidates, tokens, count, most)
        at = hidden.places
        # A span is replaced as one: its draw is that of its left neighbour, which all of it share.
        draw = jax.random.uniform(kind, tokens.shape)[hidden.left if self.unit == "span" else at]
        others = jax.random.randint(other, at.shape, 0, words.size)
        read = jnp.where(draw < MASKED, words.mask or 0, jnp.where(draw < CHANGED, others, tokens[at]))
        return Masked(tokens.at[at].set(jnp.where(hidden.chosen, read, tokens[at])), hidden, tokens[at])

    def _hidden(self, key: Array, candidates: Array, tokens: Array, count: Array, most: int) -> Hidden:
        if self.unit == "token":
            return hidden_tokens(key, candidates, count, most)
        starts = jnp.asarray(self.augment.starts)[tokens]
        return {"word": hidden_words, "span": hidden_spans}[self.unit](key, candidates, starts, count, most)

    def _states(self, params: dict, views: Views, key: Array | None = None) -> Array:
        return applied(
            self.encoder, params["encoder"], *text_of(self.given(views)), train=key is not None, **drawing(key)
        )

    def _rows(self, params: dict, views: Views) -> tuple[Array, Array]:
        """What meets the last layer at the hidden places [B, K, D], and the bias [V], as at evaluation."""
        return applied(self.modules["head"], params["head"], take_tokens(self._states(params, views), views["at"]))

    def _nats(self, params: dict, rows: Array, bias: Array, views: Views) -> Mean:
        return word_loss(rows, table_of(params), views["words"], views["weights"], bias, self.method)

    def _told_words(self, params: dict, rows: Array, bias: Array, views: Views) -> ToldWords:
        return told_words(rows, table_of(params), views["words"], views["weights"], bias, method=self.method)

    def _from_boundaries(self, params: dict, states: Array, views: Views) -> Array:
        edges = [take_tokens(states, views[side]) for side in ("left", "right")]
        return applied(self.modules["span"], params["span"], *edges, views["at"] - views["left"])

    def _told(self, views: Views, guesses: np.ndarray | None = None) -> list[list[tuple[str, str]]]:
        """Pieces of each text: hidden tokens as the model reads them, or as it guesses them."""
        tokens, segments, _ = text_of(self.given(views))
        return told_hidden(self.augment, tokens, segments, (views["at"], views["weights"], views["words"]), guesses)
