"""Masked language modelling: words that are hidden are told from those around them (Devlin et al. 2018, arXiv 1810.04805)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from text_models import WordBias
from texts import WORDS

from ssl_jax.data.augment import Batch, Views, given
from ssl_jax.data.panels import Panel, Texts
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.vocabulary import linear_softmax_cross_entropy
from ssl_jax.models.grid import take_tokens
from ssl_jax.objectives.base import Keys, Objective, Out, Progress, State

FIRST_WORD, HIDDEN = 3, 1  # ids below the first are signs; a hidden word reads as this one


@dataclass(frozen=True)
class MLM(Objective):
    """`hide` words of every text are chosen; of ten, eight read as the mask, one as another word, and one as it is."""

    hide: int = 2

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder, whose embedding is the last layer too, and that layer's bias."""
        return {"encoder": self.encoder, "head": WordBias(self.encoder.words)}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of both modules."""
        text = self._first(views)
        return State(
            {name: m.init(key, *(text if name == "encoder" else ()))["params"] for name, m in self.modules.items()}, {}
        )

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The augmentation's views with hidden words; `at` [B, K] are their places, `words` [B, K] what they were."""
        views = self.augment(keys.example, batch)
        tokens = views["tokens"][:, 0]
        at = jax.vmap(self._places)(keys.example, tokens)
        words = jnp.take_along_axis(tokens, at, axis=1)
        read = jax.vmap(self._read)(keys.example, words)
        hidden = jax.vmap(lambda row, i, new: row.at[i].set(new))(tokens, at, read)
        return views | {"tokens": hidden[:, None], "at": at, "words": words}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy over the vocabulary at the hidden places, by a last layer that is the embedding."""
        rows, words = self._hidden(params, views), views["words"].reshape(-1)
        table, bias = params["encoder"]["tokens"]["embedding"], params["head"]["bias"]
        return Out({"cross_entropy": linear_softmax_cross_entropy(rows, table, words, bias)})

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """The accuracy of the first guess, and nats for a word."""
        logits = self._hidden(params, views) @ params["encoder"]["tokens"]["embedding"].T + params["head"]["bias"]
        right = (logits.argmax(-1) == views["words"].reshape(-1)).astype(jnp.float32)
        nats = self.loss(params, extra, views, key, Progress(0, 1)).losses["cross_entropy"]
        return {"accuracy": mean_of(right), "nats": nats}

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """Hidden words, and the first guess for each."""
        logits = self._hidden(params, views) @ params["encoder"]["tokens"]["embedding"].T + params["head"]["bias"]
        guesses, words = np.asarray(logits.argmax(-1)).reshape(views["words"].shape), np.asarray(views["words"])
        told = [
            [
                [(WORDS[w], "hidden") for w in row],
                [(WORDS[g], "right" if g == w else "wrong") for g, w in zip(guess, row, strict=True)],
            ]
            for row, guess in zip(words, guesses, strict=True)
        ]
        return {"guesses": Texts(told, ("hidden", "guessed"))}

    def _first(self, views: Views) -> tuple[Array, ...]:
        return tuple(x[:, 0] for x in given(views, self.augment.inputs))

    def _hidden(self, params: dict, views: Views) -> Array:
        """Tokens [B * K, D] at the hidden places."""
        x = self.encoder.apply({"params": params["encoder"]}, *self._first(views), train=True)
        return take_tokens(x, views["at"]).reshape(-1, x.shape[-1])

    def _places(self, key: Array, tokens: Array) -> Array:
        noise = jax.random.uniform(key, tokens.shape)
        return jnp.argsort(jnp.where(tokens >= FIRST_WORD, noise, 2.0))[: self.hide]

    def _read(self, key: Array, words: Array) -> Array:
        kind, other = (jax.random.fold_in(key, i) for i in (1, 2))
        draw = jax.random.uniform(kind, words.shape)
        others = jax.random.randint(other, words.shape, FIRST_WORD, self.encoder.words)
        return jnp.where(draw < 0.8, HIDDEN, jnp.where(draw < 0.9, others, words))
