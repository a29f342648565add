"""wav2vec 2.0: hidden frames are told by the codes that stand there, and the codes are learned with them.

Baevski, Zhou, Mohamed, Auli 2020, "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
arXiv 2006.11477.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.masks.spans import hidden_spans, other_places
from ssl_jax.data.panels import Panel
from ssl_jax.errors import UserError
from ssl_jax.losses.codes import ToldPlaces, perplexity, told_places, unused_codes
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.models.codebooks import Codebooks, Pick, Picked, largest, straight_through_gumbel
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.models.wave import Frames
from ssl_jax.objectives.base import Batch, Column, Keys, Out, Pairwise, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, arrays_of, drawing, single
from ssl_jax.objectives.shared.hidden_frames import shaded

SHARED_CODES = "the diversity loss is of the codes of the whole batch; use optimizer.gradient_cache, which is exact"


class Told(NamedTuple):
    """What the model makes of a batch: its frames before their norm, the usage of codes [B, N, G, V], states and codes in the
    width that they are compared in [B, N, D], and how well each place is told.
    """

    frames: Frames
    usage: Array
    projected: Array
    targets: Array
    places: ToldPlaces


@dataclass(frozen=True)
class Wav2Vec2(Pairwise):
    """Cross-entropy of each hidden frame's code among those of other hidden frames of its sequence (eq. 2), and eq. 3 and 4.

    groups, size: codebooks, and entries of each. mask_share: the share of frames that are under spans if these did not overlap.
    span: their length in frames. negatives: other hidden frames that one is told from, drawn with replacement. kappa:
    the temperature. width: of what is compared. code_width: of a code. gumbel: temperature of the softmax at the start, at the
    end, and what it is multiplied by at each step. diversity, penalty: weights of the unused codes, and of the mean square of
    frames before their norm (fairseq's code). The paper's slower front is a rule of the optimiser (`optimizer.groups`).

    Fidelity: masks are of the example alone, where the authors' code hides as many frames of each sequence of a batch as of the
    one with the fewest. Losses are divided by the hidden frames of the batch. Another frame with the same codes is no negative,
    as in the authors' code. Gumbel noise is of the example, so that it is the same on all meshes. No layer is dropped as a whole.
    """

    encoder: nn.Module
    groups: int = 2
    size: int = 320
    code_width: int = 256
    width: int = 256
    mask_share: float = 0.65
    span: int = 10
    negatives: int = 100
    kappa: float = 0.1
    gumbel: tuple[float, float, float] = (2.0, 0.5, 0.999995)
    diversity: float = 0.1
    penalty: float = 10.0

    validated = (
        Column(title="hidden frames", value="accuracy", unit="percent"),
        Column(title="codes", value="perplexity", unit="number"),
    )

    def __post_init__(self) -> None:
        if not getattr(self.encoder, "hides", False):
            raise UserError("wav2vec2 hides frames: model.context has to be ssl_jax.models.wave:FrameTransformer")
        if not 0 < self.mask_share < 1:
            raise UserError(f"objective.mask_share={self.mask_share} must be between 0 and 1; the paper has 0.65")
        if self.code_width % self.groups:
            raise UserError(f"objective.code_width={self.code_width} is not divisible by groups={self.groups}")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder, codebooks, and what brings states and codes to one width."""
        head = ProjectionHead((), self.width, "none", dtype=self.encoder.dtype)
        books = Codebooks(self.groups, self.size, self.code_width, self.encoder.dtype)
        return {"encoder": self.encoder, "codebooks": books, "project": head, "project_code": head}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of all modules."""
        keys = dict(zip(self.modules, jax.random.split(key, len(self.modules)), strict=True))
        view = arrays_of(single(self.given(views)))
        encoder = self.encoder.init(keys["encoder"], *view)["params"]
        states = applied(self.encoder, encoder, *view)
        frames = jnp.zeros((1, 1, self.encoder.front.width), states.dtype)
        inputs = {"codebooks": frames, "project": states, "project_code": jnp.zeros((1, 1, self.code_width))}
        return State(
            {"encoder": encoder} | {n: self.modules[n].init(keys[n], x)["params"] for n, x in inputs.items()}, {}
        )

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The sequences; which frames are `hidden` [B, N], the `others` [B, N, K] that each is told from, `noise` uint32 [B, 2],
        the key of Gumbel's, and its `temperature` [B].
        """
        views = self.augment(keys.example, batch)
        valid = self.encoder.front.valid_frames(self._valid(views))
        of_spans, of_others, of_noise = (jax.vmap(partial(jax.random.fold_in, data=i))(keys.example) for i in (1, 2, 3))
        hidden = jax.vmap(partial(hidden_spans, share=self.mask_share, length=self.span))(of_spans, valid)
        others = jax.vmap(partial(other_places, count=self.negatives))(of_others, hidden)
        start, end, factor = self.gumbel
        temperature = jnp.maximum(start * factor ** jnp.asarray(progress.step, jnp.float32), end)
        return views | {
            "hidden": hidden,
            "others": others,
            "noise": jax.random.key_data(of_noise),
            "temperature": jnp.broadcast_to(temperature, len(valid)),
        }

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict, tuple]:
        """Sums over the hidden frames of each sequence: `nats`, `right`, `hidden` (their number) [B], `usage` [B, G, V]; and
        over all valid ones: `energy`, `frames` (their number) [B].
        """
        told = self._told(params, views, partial(self._drawn, views), key)
        return self._sums(told, views["hidden"]), ()

    def score(self, params: dict, extra: dict, embeddings: dict, progress: Progress) -> Out:
        """The contrastive loss, the share of codes that is not used, and the energy of frames, each with its weight."""
        total = {name: x.sum(0) for name, x in embeddings.items()}
        usage = total["usage"] / jnp.maximum(total["hidden"], 1)
        unused, energy = unused_codes(usage), Mean(total["energy"], total["frames"])
        losses = {
            "contrastive": Mean(total["nats"], total["hidden"]),
            "diversity": Mean(self.diversity * unused.total, unused.weight),
            "penalty": Mean(self.penalty * energy.total, energy.weight),
        }
        return Out({k: x for k, x in losses.items() if getattr(self, k, 1)}, self._measures(total, usage))

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How many hidden frames are the first guess, nats for one, and how many codes are in use, without noise."""
        total = {name: x.sum(0) for name, x in self._sums(self._told(params, views, largest), views["hidden"]).items()}
        usage = total["usage"] / jnp.maximum(total["hidden"], 1)
        return self._measures(total, usage) | {"nats": Mean(total["nats"], total["hidden"])}

    def preview(self, views: Views) -> dict[str, Panel]:
        """The sequences, the samples of hidden frames shaded where the augmentation shows signals."""
        return shaded(super().preview(views), views["hidden"], self.encoder.front, self._valid(views).shape[1])

    def accumulation_refusal(self, extra: dict) -> str | None:
        """Always: the codes of a microbatch are not those of the batch."""
        return SHARED_CODES

    def _valid(self, views: Views) -> Array:
        return arrays_of(single(self.given(views)))[1]

    def _drawn(self, views: Views, logits: Array) -> Picked:
        keys = jax.random.wrap_key_data(views["noise"])
        noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:], logits.dtype))(keys)
        return straight_through_gumbel(noise, views["temperature"].astype(logits.dtype), logits)

    def _told(self, params: dict, views: Views, pick: Pick, key: Array | None = None) -> Told:
        """What the model makes of the frames; with a key as in training."""
        module, learned = self.encoder, params["encoder"]
        frames = applied(module, learned, *arrays_of(single(self.given(views))), method="frames")
        states = applied(module, learned, frames, views["hidden"], key is not None, method="states", **drawing(key))
        normed = applied(module, learned, frames.states, method="normed")
        codes = applied(self.modules["codebooks"], params["codebooks"], normed, pick)
        projected = applied(self.modules["project"], params["project"], states)
        targets = applied(self.modules["project_code"], params["project_code"], codes.vectors)
        return Told(
            frames,
            codes.usage,
            projected,
            targets,
            told_places(projected, targets, codes.codes, views["others"], self.kappa),
        )

    def _sums(self, told: Told, hidden: Array) -> dict[str, Array]:
        kind = told.places.nats.dtype
        hides, seen = hidden.astype(kind), told.frames.valid.astype(kind)
        energy = jnp.square(told.frames.states.astype(kind)).mean(-1)
        return {
            "nats": (told.places.nats * hides).sum(1),
            "right": (told.places.right * hides).sum(1),
            "hidden": hides.sum(1),
            "usage": jnp.einsum("bngv,bn->bgv", told.usage.astype(kind), hides),
            "energy": (energy * seen).sum(1),
            "frames": seen.sum(1),
        }

    def _measures(self, total: dict[str, Array], usage: Array) -> dict[str, Mean]:
        return {"accuracy": Mean(total["right"], total["hidden"]), "perplexity": mean_of(perplexity(usage))}
