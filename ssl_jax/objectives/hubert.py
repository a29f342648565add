"""HuBERT: the units of hidden frames, which are clusters of their sound.

Hsu, Bolte, Tsai, Lakhotia, Salakhutdinov, Mohamed 2021, "HuBERT: Self-Supervised Speech Representation Learning by Masked
Prediction of Hidden Units", arXiv 2106.07447.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.data.audio.views import WaveViews
from ssl_jax.data.codebook import arrays_like, fitted_codebook, vectors_of
from ssl_jax.data.masks.spans import hidden_spans
from ssl_jax.data.panels import Panel
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.vocabulary import softmax_cross_entropy
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.models.units import FrameUnits, UnitRows
from ssl_jax.objectives.base import Batch, Column, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, arrays_of, drawing, single
from ssl_jax.objectives.shared.hidden_frames import shaded


@dataclass(frozen=True)
class HuBERT(Objective):
    """Cross-entropy of the units of hidden frames (eq. 1 to 3), by the cosine of what stands there with a row for each unit.

    codes: units. width: of what is compared. temperature: of the cosines. mask_share, span: as in `wav2vec2`; the paper's share
    of starts, 8 %, times its span. seen: weight of the units of frames that are not hidden. penalty: of the mean square of frames
    before their norm (fairseq's code).
    fit_records: records whose frames are looked at before the first step. Units are the centres of their cepstra (k-means), live
        in the state, and never change.
    weights: a safetensors file of the centres, `rows` [codes, 39], so that nothing is fitted.

    Fidelity: this is the paper's first iteration. Its second has units of a layer of the first model, which is not here. Frames
    of units are those of the encoder's front, where the authors' code makes one each 10 ms and takes every second. Masks, the
    penalty and what losses are divided by are those of `wav2vec2`. No layer is dropped as a whole.
    """

    encoder: nn.Module
    augment: WaveViews
    codes: int = 100
    width: int = 256
    temperature: float = 0.1
    mask_share: float = 0.8
    span: int = 10
    seen: float = 0.0
    penalty: float = 10.0
    fit_records: int = 2048
    weights: str = ""

    validated = (
        Column(title="hidden units", value="accuracy", unit="percent"),
        Column(title="nats of hidden units", value="nats", unit="number", better="lower"),
    )

    def __post_init__(self) -> None:
        if not getattr(self.encoder, "hides", False):
            raise UserError("hubert hides frames: model.context has to be ssl_jax.models.wave:FrameTransformer")
        if self.codes < 2:
            raise UserError(f"objective.codes={self.codes} must be 2 or more; HuBERT has 100")
        if not 0 < self.mask_share < 1 or self.seen < 0:
            raise UserError(
                f"objective.mask_share={self.mask_share}, seen={self.seen}: a share between 0 and 1 (the paper: 0.8) and a "
                "weight of at least 0"
            )

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder, what brings states to the width of units, and a row for each unit."""
        head = ProjectionHead((), self.width, "none", dtype=self.encoder.dtype)
        return {"encoder": self.encoder, "project": head, "units": UnitRows(self.codes)}

    @property
    def coder(self) -> FrameUnits:
        """Sequences -> units."""
        return FrameUnits(self.codes, self.encoder.front, self.augment.rate)

    def init(self, key: Array, views: Views) -> State:
        """`params` of all modules. `extra`: the centres of units, at random until they are `fitted`."""
        view, keys = arrays_of(single(self.given(views))), jax.random.split(key, 4)
        encoder = self.encoder.init(keys[0], *view)["params"]
        states = applied(self.encoder, encoder, *view)
        project = self.modules["project"].init(keys[1], states)["params"]
        units = self.modules["units"].init(keys[2], applied(self.modules["project"], project, states))["params"]
        params = {"encoder": encoder, "project": project, "units": units}
        return State(params, {"centres": self.coder.init(keys[3], view[0])["params"]})

    def fitted(self, state: State, records: Batch) -> State:
        """The state whose units are those of the file, or the centres of the frames of these records."""
        if self.weights:
            return State(state.params, {"centres": arrays_like(self.weights, state.extra["centres"])})
        rows = vectors_of(self._frames, records)
        return State(state.params, {"centres": {"rows": fitted_codebook(rows[np.isfinite(rows[:, 0])], self.codes)}})

    def _frames(self, records: Batch) -> Array:
        """Cepstra [B, N, D] of records, not a number where a frame is not valid."""
        sequence, valid = (self.augment.evaluation(records)[name] for name in self.augment.inputs)
        there = self.encoder.front.valid_frames(valid)
        return jnp.where(there[..., None], self.coder.vectors(sequence), jnp.nan)

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The sequences, and which frames are `hidden` [B, N]."""
        views = self.augment(keys.example, batch)
        valid = self.encoder.front.valid_frames(arrays_of(single(self.given(views)))[1])
        of_spans = jax.vmap(partial(jax.random.fold_in, data=1))(keys.example)
        hidden = jax.vmap(partial(hidden_spans, share=self.mask_share, length=self.span))(of_spans, valid)
        return views | {"hidden": hidden}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy of hidden units and, weighted, of seen ones; the energy of frames."""
        told = self._told(params, extra, views, key)
        losses = {
            "units": (1.0, told["nats"]),
            "seen": (self.seen, told["seen"]),
            "penalty": (self.penalty, told["energy"]),
        }
        weighted = {name: Mean(by * x.total, x.weight) for name, (by, x) in losses.items() if by}
        return Out(weighted, {"accuracy": told["accuracy"]})

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How many hidden units are the first guess, and nats for one."""
        told = self._told(params, extra, views)
        return {name: told[name] for name in ("accuracy", "nats")}

    def preview(self, views: Views) -> dict[str, Panel]:
        """The sequences, the samples of hidden frames shaded where the augmentation shows signals."""
        samples = arrays_of(single(self.given(views)))[1].shape[1]
        return shaded(super().preview(views), views["hidden"], self.encoder.front, samples)

    def _told(self, params: dict, extra: dict, views: Views, key: Array | None = None) -> dict[str, Mean]:
        view = arrays_of(single(self.given(views)))
        frames = applied(self.encoder, params["encoder"], *view, method="frames")
        states = applied(
            self.encoder, params["encoder"], frames, views["hidden"], key is not None, method="states", **drawing(key)
        )
        projected = applied(self.modules["project"], params["project"], states)
        logits = applied(self.modules["units"], params["units"], projected) / self.temperature
        units = jax.lax.stop_gradient(applied(self.coder, extra["centres"], view[0]))
        hidden = (views["hidden"] & frames.valid).astype(logits.dtype)
        seen, energy = (
            frames.valid.astype(logits.dtype) - hidden,
            jnp.square(frames.states.astype(logits.dtype)).mean(-1),
        )
        nats = partial(softmax_cross_entropy, logits.reshape(-1, self.codes), units.reshape(-1))
        return {
            "nats": nats(hidden.reshape(-1)),
            "seen": nats(seen.reshape(-1)),
            "energy": mean_of(energy, frames.valid.astype(energy.dtype)),
            "accuracy": mean_of((logits.argmax(-1) == units).astype(logits.dtype), hidden),
        }
