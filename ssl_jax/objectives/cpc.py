"""CPC: what a sequence will be a few steps later is told from what it is not.

van den Oord, Li, Vinyals 2018, "Representation Learning with Contrastive Predictive Coding", arXiv 1807.03748.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
from flax import linen as nn
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean
from ssl_jax.losses.predictive import NEGATIVES, Told
from ssl_jax.models.heads import StepPredictor
from ssl_jax.objectives.base import Batch, Column, Keys, Out, Pairwise, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, arrays_of, single


@dataclass(frozen=True)
class CPC(Pairwise):
    """InfoNCE on `z[t + k] . W_k c[t]` for k from 1 to `steps`, with latents z of frames and a causal context c (eq. 3 and 4).

    negatives: "batch", the latents at the same time of the other sequences, or "sequence", those of the own one.

    The encoder is a `SequenceEncoder`: a front that sees no more than the samples under a frame, on waves, series or anything
    else, and a context that sees no later frame. Padding is neither predicted nor a negative.

    Fidelity: the authors draw their negatives, and do not say how many; here all of either kind are in. W_k starts small enough
    for logits of about 1.
    """

    encoder: nn.Module
    steps: int = 12
    negatives: str = "batch"

    validated = (Column(title="the right latent", value="accuracy", unit="percent"),)

    def __post_init__(self) -> None:
        if self.negatives not in NEGATIVES:
            raise UserError(f"objective.negatives={self.negatives!r} is unknown; use one of {', '.join(NEGATIVES)}")
        if self.steps < 1:
            raise UserError(f"objective.steps={self.steps}: predict at least 1 step; the paper predicts 12")
        if not getattr(self.encoder, "causal", True):
            raise UserError(
                "cpc predicts what comes later, and states of this encoder have seen it: use a context such as "
                "ssl_jax.models.recurrent:GRU, and a front whose norm is not 'time'"
            )

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder, and a matrix for each step."""
        return {
            "encoder": self.encoder,
            "predictor": StepPredictor(self.steps, self.encoder.front.width, self.encoder.dtype),
        }

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, predictor. UserError for sequences that are too short to predict anything."""
        key_encoder, key_predictor = jax.random.split(key)
        view = arrays_of(single(self.given(views)))
        encoder = self.encoder.init(key_encoder, *view)["params"]
        contexts = applied(self.encoder, encoder, *view)
        if contexts.shape[1] <= self.steps:
            raise UserError(
                f"objective.steps={self.steps}: a sequence has {contexts.shape[1]} frames, and predictions need more than "
                "that; use longer sequences or fewer steps"
            )
        return State(
            {"encoder": encoder, "predictor": self.modules["predictor"].init(key_predictor, contexts)["params"]}, {}
        )

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The views [B, V, ...] of the augmentation; the first is learned from."""
        return self.augment(keys.example, batch)

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[dict, tuple]:
        """Latents [B, N, D], contexts [B, N, C], and which of them are no padding [B, N]."""
        frames = applied(self.encoder, params["encoder"], *arrays_of(single(self.given(views))), method="frames")
        contexts = applied(self.encoder, params["encoder"], frames, train=True, method="states", rngs={"noise": key})
        return {"latents": frames.states, "contexts": contexts, "valid": frames.valid.astype(contexts.dtype)}, ()

    def score(self, params: dict, extra: dict, embeddings: dict, progress: Progress) -> Out:
        """The contrastive loss of all steps, and how often the right latent is the first guess."""
        told = self._told(params, embeddings)
        return Out({"info_nce": told.loss}, {"accuracy": told.accuracy})

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """The same on held-out sequences."""
        told = self._told(params, self.embed(params, extra, views, key)[0])
        return {"accuracy": told.accuracy, "nats": told.loss}

    def accumulation_refusal(self, extra: dict) -> str | None:
        """Only where other sequences of the batch are the negatives."""
        return None if self.negatives == "sequence" else super().accumulation_refusal(extra)

    def _told(self, params: dict, embeddings: dict) -> Told:
        predicted = applied(self.modules["predictor"], params["predictor"], embeddings["contexts"])
        return NEGATIVES[self.negatives](predicted, embeddings["latents"], embeddings["valid"] > 0)
