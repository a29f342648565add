"""Views of a text that are other texts: cut, with tokens dropped, spans hidden, sentences in another order."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.augment import Batch, Views
from ssl_jax.data.masks.corruption import sentence_order
from ssl_jax.data.masks.parts import closed_up, spared, stretch
from ssl_jax.data.masks.words import budget, hidden_spans
from ssl_jax.data.text.views import TextViews, alone
from ssl_jax.errors import UserError


@dataclass(frozen=True)
class AugmentedText(TextViews):
    """`count` views of a text, each drawn anew, for methods that compare views (SimCLR, BYOL, VICReg); one text in each record.

    In this order: its sentences change places, all but a stretch of it is cut off, tokens are dropped, and spans of whole words
    are each hidden behind masks. The signs at both ends stay. Evaluation sees the text as it is.

    shuffle: whether sentences change places.
    crop: the share of the tokens that the stretch has, drawn between the two.
    drop: the chance of each token to be dropped.
    hide: the share of the tokens, signs among them, that are hidden.
    """

    count: int = 2
    shuffle: bool = False
    crop: tuple[float, float] = (1.0, 1.0)
    drop: float = 0.0
    hide: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "crop", tuple(self.crop))
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise UserError(f"augment.crop={self.crop}: two shares of a text, above 0 and in order, as (0.5, 1.0)")
        for name in ("drop", "hide"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"augment.{name}={getattr(self, name)} must be at least 0 and below 1")
        if self.hide:
            self.words.require("mask", by="augment.hide")

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The `inputs` int32 [B, V, T]. UserError for packed rows: what is cut has to be one text."""
        if "segments" in batch:
            raise UserError(
                "views of packed rows would mix texts; name a source with one text in each record (Glosses)"
            )
        text = self.evaluation(batch)
        each = jax.vmap(lambda key: jax.random.split(key, self.count))(keys)
        view = jax.vmap(jax.vmap(self._view, (0, None, None)))
        tokens = view(each, text["tokens"], text["segments"] > 0)
        flat = {"tokens": tokens.reshape(-1, tokens.shape[-1])}
        return {k: x.reshape(tokens.shape) for k, x in (flat | alone(flat["tokens"], self.words.pad or 0)).items()}

    def _view(self, key: Array, tokens: Array, real: Array) -> Array:
        """One view [T] of a text [T]."""
        order, cut, drop, hide = jax.random.split(key, 4)
        if self.shuffle:
            tokens = tokens[sentence_order(order, jnp.asarray(self.stops)[tokens], real)]
        inner = self._inner(tokens, real)
        kept = spared(drop, stretch(cut, inner, self.crop), self.drop)
        tokens = closed_up(tokens, kept | (real & ~inner), self.words.pad or 0)
        return (
            self._hidden(hide, tokens, real & (jnp.cumsum(tokens == (self.words.pad or 0)) == 0))
            if self.hide
            else tokens
        )

    def _hidden(self, key: Array, tokens: Array, real: Array) -> Array:
        inner, most = self._inner(tokens, real), max(1, round(len(tokens) * self.hide))
        starts = jnp.asarray(self.starts)[tokens]
        spans = hidden_spans(key, inner, starts, jnp.minimum(budget(real.sum(), self.hide, most), inner.sum()), most)
        at = spans.places
        return tokens.at[at].set(jnp.where(spans.chosen, self.words.mask or 0, tokens[at]))

    def _inner(self, tokens: Array, real: Array) -> Array:
        return real & ~jnp.isin(tokens, jnp.asarray(self.words.signs))
