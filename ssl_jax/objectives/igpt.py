"""iGPT: every pixel's colour, told from those before it, or hidden ones from all others.

Chen, Radford, Child, Wu, Jun, Dhariwal, Luan, Sutskever 2020, "Generative Pretraining from Pixels", ICML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.codebook import fitted_codebook, vectors_of
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.panels import Panel, Pictures
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.vocabulary import ToldWords
from ssl_jax.models.pixels import plain_text
from ssl_jax.models.text import WordTable
from ssl_jax.objectives.base import Batch, Column, Encoder, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.decoding import Sampler, reader, written
from ssl_jax.objectives.shared.forward import applied, drawing
from ssl_jax.objectives.shared.language import accuracy, told_words, validation

SHOWN = Sampler()


@dataclass(frozen=True)
class IGPT(Objective):
    """Cross-entropy of the colours of pixels: of all, for a causal model; of `mask_ratio` of them for one that sees both sides.

    fit_records: records whose pixels are looked at before the first step; their colours are the centres (k-means), live in the
        state, and never change.
    mask_ratio: of a model that is not causal.
    method: how the loss over the colours is computed (`losses/streamed/cost.py`).

    Fidelity: as the authors' code: the first pixel is told from a learned sign; the last layer is a table of its own that starts
    at zero; a hidden pixel has a zero vector, and the loss is the mean over pictures of the mean over their hidden pixels. Models
    have RMS norms without biases and `quick_gelu`.
    """

    encoder: nn.Module
    augment: ImageViews
    mask_ratio: float = 0.15
    fit_records: int = 512
    method: str = "auto"

    validated = (
        Column(title="pixels", value="accuracy", unit="percent"),
        Column(title="perplexity of a pixel", value="nats", unit="exp", better="lower"),
    )

    def __post_init__(self) -> None:
        if not hasattr(self.encoder, "colours"):
            raise UserError(
                "igpt needs a model that reads colours; set model.target=ssl_jax.models.pixels:PixelTransformer"
            )
        if not 0 < self.mask_ratio < 1:
            raise UserError(f"objective.mask_ratio={self.mask_ratio} must be between 0 and 1; the paper hides 0.15")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder and a last layer."""
        return {"encoder": self.encoder, "words": WordTable(self.encoder.colours, self.encoder.width, 0.0)}

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, words. `extra`: palette, a lattice until it is `fitted`."""
        key_encoder, key_words = jax.random.split(key)
        encoder = dict(self.encoder.init(key_encoder, views[self.view][:, 0], method="read")["params"])
        palette = {"palette": encoder.pop("palette")}
        return State({"encoder": encoder, "words": self.modules["words"].init(key_words)["params"]}, palette)

    def fitted(self, state: State, records: Batch) -> State:
        """The state whose palette are the centres of the pixels of these records."""

        def pixels(part: Batch) -> Array:
            image = self.augment.evaluation(part)[self.view]
            return image.reshape(len(image), -1, image.shape[-1])

        return State(state.params, {"palette": fitted_codebook(vectors_of(pixels, records), self.encoder.colours)})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The views of the augmentation, the main one [B, 1, h, w, C]; unless the model is causal, the `mask` [B, N]."""
        views = self.augment(keys.example, batch)
        if self.encoder.causal:
            return views
        pixels = views[self.view].shape[2] * views[self.view].shape[3]
        draw = lambda key: jax.random.bernoulli(jax.random.fold_in(key, 1), self.mask_ratio, (pixels,))  # noqa: E731
        return views | {"mask": jax.vmap(draw)(keys.example)}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy, and how many pixels were the first guess."""
        told, codes, weights = self._told(params, extra, views, key)
        return Out({"pixels": told.loss}, {"accuracy": accuracy(told, codes, weights)})

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How many pixels are the first guess, and nats for one."""
        told, codes, weights = self._told(params, extra, views)
        return validation(told, codes, weights)

    def encoders(self) -> dict[str, Encoder]:
        """The student with the palette."""
        return {"student": replace(super().encoders()["student"], made=with_palette)}

    def preview(self, views: Views) -> dict[str, Panel]:
        """The views as they are: colours are fitted when training begins."""
        return self.augment.panel({self.view: views[self.view]})

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """Pictures in the palette's colours and, of a causal model, how it goes on from their upper halves."""
        image = views[self.view][:, 0]
        codes = self._of_encoder(params, extra, "codes", image)
        columns = {"input": image, "palette": extra["palette"][codes].reshape(image.shape)}
        if self.encoder.causal:
            half = codes.shape[1] // 2
            new = self.sample(params, extra, jax.random.key(0), codes[:, :half], codes.shape[1] - half)
            whole = jnp.concatenate([codes[:, :half], new], axis=1)
            columns["lower half written"] = extra["palette"][whole].reshape(image.shape)
        rows = jnp.stack([self.augment.denormalise(x) for x in columns.values()], axis=1)
        return {"colours": Pictures(rows, tuple(columns))}

    def sample(self, params: dict, extra: dict, key: Array, codes: Array, new: int, sampler: Sampler = SHOWN) -> Array:
        """`new` colours int [B, new] behind the first `codes` [B, P] of pictures, of a causal model."""
        prompt = jnp.pad(codes, ((0, 0), (1, 0)), constant_values=self.encoder.colours)

        def logits(state: Array) -> Array:
            return jnp.einsum("bd,vd->bv", state, params["words"]["table"], preferred_element_type=wide(state.dtype))

        read = reader(self.encoder, params["encoder"] | extra)
        return written(read, logits, plain_text(prompt), key, new, sampler)

    def _told(
        self, params: dict, extra: dict, views: Views, key: Array | None = None
    ) -> tuple[ToldWords, Array, Array]:
        """What is told of each pixel, its colour, and its weight, each [B, N]."""
        image = views[self.view][:, 0]
        codes = self._of_encoder(params, extra, "codes", image)
        noise = {"train": key is not None} | drawing(key)
        if self.encoder.causal:
            states, weights = self._of_encoder(params, extra, "read", image, **noise), jnp.ones(codes.shape)
        else:
            hidden = views["mask"]
            states = self._of_encoder(params, extra, "read_partly", codes, ~hidden, **noise)
            weights = hidden / jnp.maximum(hidden.sum(axis=1, keepdims=True), 1)
        return told_words(states, params["words"]["table"], codes, weights, method=self.method), codes, weights

    def _of_encoder(self, params: dict, extra: dict, method: str, *given: Array, **options: object) -> Array:
        return applied(self.encoder, params["encoder"] | extra, *given, method=method, **options)


def with_palette(state: State) -> State:
    """The state with the palette among the encoder's parameters, where evaluation and export look for it."""
    return State(state.params | {"encoder": state.params["encoder"] | {"palette": state.extra["palette"]}}, state.extra)
