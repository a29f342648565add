"""Next-token prediction: every token is told from those before it in its document.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2); Touvron et al. 2023, "LLaMA",
arXiv 2302.13971.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.data.panels import Panel, Texts
from ssl_jax.data.text.views import TextViews
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.vocabulary import ToldWords
from ssl_jax.objectives.base import Batch, Column, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.decoding import GREEDY, Sampler, prompted, reader, written
from ssl_jax.objectives.shared.forward import applied, drawing
from ssl_jax.objectives.shared.language import (
    accuracy,
    bits_per_byte,
    following,
    last_layers,
    table_of,
    text_of,
    told_texts,
    told_words,
    validation,
)

BEGINNING, WRITTEN = 8, 24  # tokens of a sample that are given, and that are written at most
SHOWN = Sampler(top_k=40)


@dataclass(frozen=True)
class CausalLM(Objective):
    """Cross-entropy of every token but the first of its document; no document of a packed row sees another.

    tied: the last layer is the embedding (GPT-2), or a table of its own (Llama).
    z: weight of the squared log-sums of exponentials (z-loss), which keeps logits small; 1e-4 in PaLM, 0 in GPT-2 and Llama.
    method: how the loss over the vocabulary is computed (`losses/streamed/cost.py`).
    """

    encoder: nn.Module
    augment: TextViews
    tied: bool = True
    z: float = 0.0
    method: str = "auto"

    validated = (
        Column(title="next word", value="accuracy", unit="percent"),
        Column(title="perplexity", value="nats", unit="exp"),
        Column(title="bits per byte", value="bits_per_byte", unit="number"),
    )

    def __post_init__(self) -> None:
        if not self.encoder.causal:
            raise UserError("causal_lm needs a model that sees no later token; set model.causal=True")
        if self.z < 0:
            raise UserError(f"objective.z={self.z} must be 0 or more; PaLM's is 1e-4")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder, and a last layer of its own unless it is tied."""
        return {"encoder": self.encoder, **last_layers(self.encoder, self.tied)}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of all modules."""
        keys = dict(zip(self.modules, jax.random.split(key, len(self.modules)), strict=True))
        inputs: dict[str, tuple[Any, ...]] = {"encoder": text_of(self.given(views)), "words": ()}
        return State({name: m.init(keys[name], *inputs[name])["params"] for name, m in self.modules.items()}, {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The augmentation's views, as they are, and which tokens are `counted` [B, T] where records say so."""
        counted = {name: batch[name].astype(jnp.float32) for name in ("counted",) if name in batch}
        return self.augment(keys.example, batch) | counted

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """The mean over all tokens that follow another, with the z-loss in it; both apart, and right guesses, are metrics."""
        told, words, weights = self._told(params, self._states(params, views, key), views)
        right = {"accuracy": accuracy(told, words, weights)}
        parts = {"nats": told.cross_entropy, "log_sum_squared": told.log_sum_squared} if self.z else {}
        return Out({"cross_entropy": told.loss}, right | parts)

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How many tokens are the first guess, nats for one, and bits for a byte of the text."""
        told, words, weights = self._told(params, self._states(params, views), views)
        bits = bits_per_byte(told.cross_entropy, words, weights, self.augment.bytes)
        return validation(told, words, weights) | bits

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """Texts, with the tokens that were the first guess from all before them; and how the model goes on from a few."""
        tokens, segments, _ = (np.asarray(x) for x in text_of(self.given(views)))
        guesses = np.asarray(self._told(params, self._states(params, views), views)[0].guess)
        right = np.pad(guesses[:, :-1] == tokens[:, 1:], ((0, 0), (1, 0)))
        told = told_texts(self.augment, tokens, segments, right, "right")
        return {"guesses": told, "samples": self._samples(params, tokens, segments)}

    def sample(
        self, params: dict, key: Array, prompts: Array, lengths: Array, new: int, sampler: Sampler = GREEDY
    ) -> Array:
        """`new` tokens int [B, new] behind `prompts` int [B, P], of which the first `lengths` [B] of each row are real.

        UserError where a model with a table of positions has no rows for so many.
        """
        if self.encoder.positions == "learned" and prompts.shape[1] + new > self.encoder.length:
            raise UserError(
                f"{prompts.shape[1]} tokens and {new} new ones are more than model.length={self.encoder.length}"
            )

        def logits(state: Array) -> Array:
            return jnp.einsum("bd,vd->bv", state, table_of(params), preferred_element_type=wide(state.dtype))

        read, end = reader(self.encoder, params["encoder"]), self.augment.words.end
        return written(read, logits, prompted(prompts, lengths), key, new, sampler, end)

    def _samples(self, params: dict, tokens: np.ndarray, segments: np.ndarray) -> Texts:
        """The first tokens of each row's first text, and what is written behind them, by `SHOWN`."""
        count = min(BEGINNING, tokens.shape[1] // 2)
        lengths = np.minimum((segments == 1).sum(axis=1), count)
        new = min(WRITTEN, tokens.shape[1] - count)
        prompts = jnp.asarray(tokens[:, :count]), jnp.asarray(lengths)
        write = jax.jit(lambda params: self.sample(params, jax.random.key(0), *prompts, new, SHOWN))
        begun = [[(p, "") for p in self.augment.pieces(t[:n])] for t, n in zip(tokens, lengths, strict=True)]
        more = [[(p, "written") for p in self._until_end(t)] for t in np.asarray(write(params))]
        return Texts([[a + b] for a, b in zip(begun, more, strict=True)], ("text",))

    def _until_end(self, tokens: np.ndarray) -> list[str]:
        """The pieces up to the sign of the end."""
        over = np.flatnonzero(tokens == self.augment.words.end)
        return self.augment.pieces(tokens[: over[0] + 1] if len(over) else tokens)

    def _states(self, params: dict, views: Views, key: Array | None = None) -> Array:
        return applied(
            self.encoder, params["encoder"], *text_of(self.given(views)), train=key is not None, **drawing(key)
        )

    def _told(self, params: dict, states: Array, views: Views) -> tuple[ToldWords, Array, Array]:
        """What is told of each token's successor, the successors, and their weights."""
        after, weights = following(*text_of(self.given(views))[:2])
        weights = weights * jnp.roll(views["counted"], -1, axis=1) if "counted" in views else weights
        return told_words(states, table_of(params), after, weights, z=self.z, method=self.method), after, weights
