"""Masked diffusion: a text is hidden token by token, at random times, and told again.

Sahoo, Arriola, Schiff, Gokaslan, Marroquin, Chiu, Rush, Kuleshov 2024, "Simple and Effective Masked Diffusion Language Models",
arXiv 2406.07524.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.data.panels import Panel, Texts
from ssl_jax.data.text.views import TextViews
from ssl_jax.errors import UserError
from ssl_jax.losses.diffusion import NEVER, loss_weight, move_chance, step_back, stratified_times, substituted
from ssl_jax.losses.mean import Mean
from ssl_jax.models.text import WordLayer
from ssl_jax.objectives.base import Batch, Column, Encoder, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.ema import ema_update
from ssl_jax.objectives.shared.forward import applied, drawing
from ssl_jax.objectives.shared.language import text_of, told_texts, word_loss

STEPS = 64  # of a sample that is shown


@dataclass(frozen=True)
class MDLM(Objective):
    """The bound on the nats of a text (eq. 10): cross-entropy of the hidden tokens, each weighted by 1 / t.

    epsilon: what is never hidden, even at time 1. least_time: the earliest time that is drawn.
    average: momentum of a moving average of the parameters, which then is what validates and samples; 0 for none. As in the
        authors' code step t (from 0) has at most (2 + t) / (11 + t).
    method: how the loss over the vocabulary is computed (`losses/streamed/cost.py`).

    Fidelity: times are stratified over the global batch, its texts in an order that they draw, where the authors' code does so on
    each device, in the order of rows; the model is told no
    time (their default), so that its condition is constant. The projection after attention has a bias.
    """

    encoder: nn.Module
    augment: TextViews
    epsilon: float = 1e-3
    least_time: float = 1e-3
    method: str = "auto"
    average: float = 0.0

    validated = (Column(title="perplexity (bound)", value="nats", unit="exp"),)

    def __post_init__(self) -> None:
        if self.encoder.causal:
            raise UserError("mdlm needs a model that sees both directions; set model.causal=False")
        if not 0 <= self.average < 1:
            raise UserError(f"objective.average={self.average} must be at least 0 and below 1; the paper has 0.9999")
        self.augment.words.require("mask", by="mdlm")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder, and a last layer that starts at zero."""
        return {"encoder": self.encoder, "words": WordLayer(self.encoder.vocabulary, self.encoder.width)}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of both, and in `extra` their `average`, if one is kept."""
        keys = jax.random.split(key)
        encoder = self.encoder.init(keys[0], *text_of(self.given(views)))["params"]
        params = {"encoder": encoder, "words": self.modules["words"].init(keys[1])["params"]}
        return State(params, {"average": jax.tree.map(jnp.copy, params)} if self.average else {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The texts with hidden tokens; what they were (`words` [B, T]), and the `time` [B] of each."""
        views = self.augment(keys.example, batch)
        tokens, segments, _ = text_of(self.given(views))
        draws = jax.vmap(partial(_draws, length=tokens.shape[1]))(keys.example)
        times = stratified_times(draws[0], *keys.rank(_turn), self.least_time)
        gone = (draws[1] < move_chance(times, self.epsilon)[:, None]) & (segments > 0)
        hidden = jnp.where(gone, self.augment.words.mask or 0, tokens)
        return views | {self.view: hidden[:, None], "words": tokens, "time": times}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """The bound, in nats for each real token."""
        return Out({"bound": self._bound(params, views, key)})

    def update(self, params: dict, extra: dict, out: Out, progress: Progress) -> State:
        """Move the average, where there is one."""
        params, extra = super().update(params, extra, out, progress)
        if not self.average:
            return State(params, extra)
        momentum = jnp.minimum(self.average, (2.0 + progress.step) / (11.0 + progress.step))
        return State(params, extra | {"average": ema_update(extra["average"], params, momentum)})

    def encoders(self) -> dict[str, Encoder]:
        """`student`, and `average` where one is kept."""
        student = super().encoders()["student"]
        averaged = {"average": replace(student, path=("extra", "average", "encoder"))} if self.average else {}
        return {"student": student, **averaged}

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """The bound on nats for a token; of the average, where there is one."""
        return {"nats": self._bound(extra.get("average", params), views)}

    def preview(self, views: Views) -> dict[str, Panel]:
        """The texts as the model reads them, the later the less of them."""
        hidden = views[self.view][:, 0] == self.augment.words.mask
        tokens, segments, _ = text_of(self.given(views))
        return {"noise": told_texts(self.augment, tokens, segments, hidden, "hidden")}

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """Texts made from nothing but masks, as many and as long as the views."""
        rows, length = text_of(self.given(views))[0].shape
        sampled = jax.jit(lambda params: self.sample(params, jax.random.key(0), rows, length, STEPS))
        made = sampled(extra.get("average", params))
        return {
            "samples": Texts(
                [[[(p, "") for p in self.augment.pieces(t)]] for t in np.asarray(made)], ("made from masks",)
            )
        }

    def sample(self, params: dict, key: Array, rows: int, length: int, steps: int) -> Array:
        """Texts int [rows, length], from nothing but masks in so many equal steps back to time 0.

        Fidelity: choices are by `jax.random.categorical`, whose noise has the full range of float32; the authors' code draws from
        a Gumbel distribution whose tail is cut, which samples as at a lower temperature.
        """
        mask = self.augment.words.mask or 0
        times = jnp.linspace(1.0, 1e-5, steps + 1)

        def step(tokens: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
            now, then, fresh = at
            log = self._log_chance(params, tokens)
            chance = step_back(log, tokens, jnp.full(rows, now), jnp.full(rows, then), mask)
            return jax.random.categorical(fresh, jnp.log(chance)), None

        start = jnp.full((rows, length), mask)
        tokens, _ = jax.lax.scan(step, start, (times[:-1], times[1:], jax.random.split(key, steps)))
        return self._log_chance(params, tokens).argmax(axis=-1)

    def _log_chance(self, params: dict, tokens: Array) -> Array:
        places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        states = applied(self.encoder, params["encoder"], tokens, jnp.ones_like(tokens), places)
        table, bias = params["words"]["table"], params["words"]["bias"]
        logits = jnp.einsum("btd,vd->btv", states.astype(jnp.float32), table) + bias
        return substituted(logits, tokens, self.augment.words.mask or 0)

    def _bound(self, params: dict, views: Views, key: Array | None = None) -> Mean:
        tokens, segments, places = text_of(self.given(views))
        states = applied(
            self.encoder, params["encoder"], tokens, segments, places, train=key is not None, **drawing(key)
        )
        real, mask = segments > 0, self.augment.words.mask or 0
        weights = loss_weight(views["time"], self.epsilon)[:, None] * ((tokens == mask) & real)
        bias = params["words"]["bias"].at[mask].set(NEVER)
        total = word_loss(states, params["words"]["table"], views["words"], weights, bias, self.method).total
        return Mean(total, real.sum().astype(total.dtype))


def _draws(key: Array, length: int) -> tuple[Array, Array]:
    """A uniform number for the time of a text, and one for each of its tokens."""
    time, token = (jax.random.fold_in(key, i) for i in (1, 2))
    return jax.random.uniform(time), jax.random.uniform(token, (length,))


def _turn(key: Array) -> Array:
    """A uniform number whose order says which part of all times a text gets."""
    return jax.random.uniform(jax.random.fold_in(key, 3))
