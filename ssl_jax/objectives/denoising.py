"""Denoising: an encoder reads a damaged text, and a decoder writes what is missing, or all of it.

Raffel et al. 2019, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer" (T5), arXiv 1910.10683;
Lewis et al. 2019, "BART", arXiv 1910.13461.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.masks.corruption import RATIO, Corrupted, bart_corrupted, t5_corrupted
from ssl_jax.data.panels import Panel, Texts
from ssl_jax.data.text.views import TextViews
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.vocabulary import ToldWords
from ssl_jax.models.text import EncoderDecoder, WordTable
from ssl_jax.objectives.base import Batch, Column, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.decoding import GREEDY, Sampler, prompted, reader, written
from ssl_jax.objectives.shared.forward import applied, drawing
from ssl_jax.objectives.shared.language import accuracy, text_of, told_texts, told_words, validation

NEEDED = {"t5": ("pad", "end"), "bart": ("pad", "mask", "end")}


@dataclass(frozen=True)
class Denoising(Objective):
    """Cross-entropy of the decoder's tokens, each given those before it and the damaged text.

    corruption: "t5" hides spans behind sentinels, and only they are written; "bart" puts sentences in random order and leaves one
      mask for each hidden span, and all of the text is written.
    ratio: of the tokens (T5: 0.15) or words (BART: 0.3) that are hidden; 0 is the method's own.
    tied: the last layer is the embedding (T5 1.0, BART), divided by the root of the width if `scaled` (T5 1.0); or a table of its
      own (T5 1.1).
    method: how the loss over the vocabulary is computed (`losses/streamed/cost.py`).

    A packed row is read as one text, as both methods do. The decoder starts from the padding (T5) or the end sign (BART).
    """

    encoder: EncoderDecoder
    augment: TextViews
    corruption: str = "t5"  # t5 | bart
    ratio: float = 0.0
    tied: bool = False
    scaled: bool = False
    method: str = "auto"

    validated = (
        Column(title="written words", value="accuracy", unit="percent"),
        Column(title="perplexity of written words", value="nats", unit="exp"),
    )

    def __post_init__(self) -> None:
        if self.corruption not in NEEDED:
            raise UserError(f"objective.corruption={self.corruption!r} is unknown; use one of {', '.join(NEEDED)}")
        words = self.augment.words
        words.require(*NEEDED[self.corruption], by=f"denoising ({self.corruption})")
        if self.corruption == "t5" and not words.sentinels:
            raise UserError("denoising (t5) needs sentinels; train the tokenizer with <extra_id_0>, <extra_id_1>, ...")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Both transformers as one, and a last layer of its own unless it is tied."""
        table = {} if self.tied else {"words": WordTable(self.encoder.vocabulary, self.encoder.width)}
        return {"encoder": self.encoder, **table}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of all modules."""
        keys = dict(zip(self.modules, jax.random.split(key, len(self.modules)), strict=True))
        inputs: dict[str, tuple[Any, ...]] = {"encoder": (self._source(views), self._written(views)), "words": ()}
        return State({name: m.init(keys[name], *inputs[name])["params"] for name, m in self.modules.items()}, {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The damaged texts, and `target` and `weights` [B, U]: what is to be written, and which of it is real."""
        views = self.augment(keys.example, batch)
        tokens, segments, _ = text_of(self.given(views))
        made = jax.vmap(self._corrupted)(keys.example, tokens, (segments > 0).sum(axis=1))
        real, places = _rows(made.source, made.source_length)
        weights = _rows(made.target, made.target_length)[0].astype(jnp.float32)
        source = dict(zip(self.augment.inputs, (made.source, real.astype(jnp.int32), places), strict=True))
        return {name: x[:, None] for name, x in source.items()} | {"target": made.target, "weights": weights}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """The mean over all tokens that are written."""
        told = self._told(params, self._states(params, views, key), views)
        return Out({"cross_entropy": told.loss}, {"accuracy": accuracy(told, views["target"], views["weights"])})

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How many tokens are the first guess given those before them, and nats for one."""
        told = self._told(params, self._states(params, views), views)
        return validation(told, views["target"], views["weights"])

    def preview(self, views: Views) -> dict[str, Panel]:
        """The damaged texts, and what is to be written."""
        tokens, segments, _ = text_of(self.given(views))
        signs = jnp.isin(tokens, jnp.asarray(self.augment.words.signs))
        read = told_texts(self.augment, tokens, segments, signs, "hidden").rows
        written = told_texts(self.augment, views["target"], views["weights"], views["weights"] < 0, "").rows
        return {"corruption": Texts([[*a, *b] for a, b in zip(read, written, strict=True)], ("read", "to be written"))}

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """What is to be written, with the tokens that were the first guess."""
        right = self._told(params, self._states(params, views), views).guess == views["target"]
        return {"written": told_texts(self.augment, views["target"], views["weights"], right, "right")}

    def sample(self, params: dict, views: Views, key: Array, new: int, sampler: Sampler = GREEDY) -> Array:
        """`new` tokens int [B, new] that the decoder writes of the damaged texts."""
        memory = self.encoder.apply({"params": params["encoder"]}, *self._source(views), method="read")
        read = reader(self.encoder, params["encoder"], memory, method="write")

        def logits(state: Array) -> Array:
            return jnp.einsum("bd,vd->bv", state, self._table(params), preferred_element_type=wide(state.dtype))

        rows = len(views["target"])
        begin = prompted(jnp.full((rows, 1), self._start), jnp.ones(rows, jnp.int32))
        return written(read, logits, begin, key, new, sampler, self.augment.words.end)

    @property
    def _start(self) -> int:
        """What the decoder is given before its first token: the padding (T5), or the end sign (BART)."""
        words = self.augment.words
        return cast(int, words.pad if self.corruption == "t5" else words.end)

    def _corrupted(self, key: Array, tokens: Array, length: Array) -> Corrupted:
        words, key, ratio = self.augment.words, jax.random.fold_in(key, 1), self.ratio or RATIO[self.corruption]
        end = cast(int, words.end)
        if self.corruption == "t5":
            return t5_corrupted(key, tokens, length, words.size - 1, end, ratio)
        starts, stops = jnp.asarray(self.augment.starts)[tokens], tokens == end
        return bart_corrupted(key, tokens, length, starts, stops, cast(int, words.mask), words.size, ratio)

    def _source(self, views: Views) -> tuple[Array, ...]:
        return text_of(self.given(views))

    def _written(self, views: Views) -> tuple[Array, Array, Array]:
        """What the decoder is given: the target, one place later."""
        target = views["target"]
        tokens = jnp.pad(target, ((0, 0), (1, 0)), constant_values=self._start)[:, :-1]
        places = jnp.broadcast_to(jnp.arange(target.shape[1]), target.shape)
        return tokens, (views["weights"] > 0).astype(jnp.int32), places

    def _states(self, params: dict, views: Views, key: Array | None = None) -> Array:
        given = (self._source(views), self._written(views))
        return applied(self.encoder, params["encoder"], *given, train=key is not None, **drawing(key))

    def _table(self, params: dict) -> Array:
        if not self.tied:
            return params["words"]["table"]
        table = params["encoder"]["encoder"]["tokens"]["embedding"]
        return table / jnp.sqrt(self.encoder.width) if self.scaled else table

    def _told(self, params: dict, states: Array, views: Views) -> ToldWords:
        return told_words(states, self._table(params), views["target"], views["weights"], method=self.method)


def _rows(tokens: Array, length: Array) -> tuple[Array, Array]:
    """Which of tokens [B, T] are real, and the places of all."""
    places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return places < length[:, None], places
