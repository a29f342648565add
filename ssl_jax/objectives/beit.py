"""BEiT: the codes of hidden patches, told by one layer on the states of mask tokens.

Bao, Dong, Piao, Wei 2021, "BEiT: BERT Pre-Training of Image Transformers", arXiv 2106.08254.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from flax import linen as nn
from jax import Array

from ssl_jax.data.codebook import arrays_like, fitted_codebook, vectors_of
from ssl_jax.data.masks.rectangles import one_view
from ssl_jax.data.panels import Panel
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.vocabulary import softmax_cross_entropy
from ssl_jax.models.codebook import PatchCodebook
from ssl_jax.models.grid import Grid, take_tokens
from ssl_jax.objectives.base import Batch, Column, Out, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied
from ssl_jax.objectives.shared.masked_patches import MaskedPatches, Masking


@dataclass(frozen=True)
class BEiT(MaskedPatches):
    """Cross-entropy of the codes of hidden blocks of patches, over all that are hidden in the batch.

    codes: how many there are.
    smallest: patches of the smallest block.
    standardized: codes are of patches with mean 0 and variance 1, of what is drawn and not how bright.
    fit_records: records whose patches are looked at before the first step. The codes are their centres (k-means), live in
        the state, and never change.
    tokenizer: a module of one's own that makes codes int [B, N] of images, in the place of the nearest centre.
    weights: a safetensors file of the tokenizer's parameters by their paths, so that nothing is fitted; of the nearest centre
        that is `rows` [codes, patch length].

    A view named `target`, of the same crop at another size (`like="image"`), is what the tokenizer sees, where there is one.

    Fidelity: masks as the authors' code, padded to the largest number of hidden patches, and the mean over all hidden ones of
    the batch. Without `weights`, codes are those of a k-means on patches of one's own data, not of the paper's dVAE, whose
    network is not here.
    """

    mask_ratio: float = 75 / 196
    smallest: int = 16
    codes: int = 8192
    standardized: bool = False
    fit_records: int = 4096
    tokenizer: nn.Module | None = None
    weights: str = ""

    validated = (
        Column(title="hidden codes", value="accuracy", unit="percent"),
        Column(title="nats of hidden codes", value="nats", unit="number", better="lower"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codes < 2:
            raise UserError(f"objective.codes={self.codes} must be 2 or more; BEiT has 8192")
        if self.tokenizer is not None and not self.weights:
            raise UserError("objective.tokenizer is not trained here; name its parameters in objective.weights")

    @property
    def coder(self) -> nn.Module:
        """Pictures -> codes."""
        return self.tokenizer or PatchCodebook(self.codes, self.encoder.patch, self.standardized)

    def masking(self, grid: Grid) -> Masking:
        """BEiT's blocks."""
        blocks = one_view(grid, self.mask_ratio, self.smallest)
        return Masking(blocks, blocks.slots)

    def outputs(self, channels: int) -> int:
        """A logit for each code."""
        return self.codes

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, head. `extra`: tokenizer, at random until it is `fitted`."""
        state = super().init(key, views)
        drawn = self.coder.init(jax.random.fold_in(key, 1), self._target(views))["params"]
        return State(state.params, {"tokenizer": drawn})

    def fitted(self, state: State, records: Batch) -> State:
        """The state whose codes are those of the file, or the centres of the patches of these records."""
        if self.weights:
            return State(state.params, {"tokenizer": arrays_like(self.weights, state.extra["tokenizer"])})
        coder: Any = self.coder
        seen = lambda part: coder.vectors(self.augment.evaluation(part)[self.view])  # noqa: E731
        return State(state.params, {"tokenizer": {"rows": fitted_codebook(vectors_of(seen, records), self.codes)}})

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy of hidden codes, and how many were the first guess."""
        told = self._told(params, extra, views, key)
        return Out({"codes": told["nats"]}, {"accuracy": told["accuracy"]})

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """How many hidden codes are the first guess, and nats for one."""
        return self._told(params, extra, views)

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """Input, masked input, and the centres of the codes that are guessed; nothing of a tokenizer that has none."""
        if self.tokenizer is not None:
            return {}
        slots = self.hidden(views)
        guess = self.told(params, views, slots).argmax(axis=-1)
        note = "Hidden patches are shown as the centre of the code that was guessed"
        note += ", which was fitted to patches with mean 0 and variance 1." if self.standardized else "."
        return self.filled(views, slots, extra["tokenizer"]["rows"][guess], note)

    def _told(self, params: dict, extra: dict, views: Views, key: Array | None = None) -> dict[str, Mean]:
        slots = self.hidden(views)
        logits = self.told(params, views, slots, key)
        codes = self._codes(extra, views, slots.index)
        weights = slots.valid.astype(logits.dtype)
        right = (logits.argmax(axis=-1) == codes).astype(logits.dtype)
        flat: Any = (logits.reshape(-1, self.codes), codes.reshape(-1), weights.reshape(-1))
        return {"accuracy": mean_of(right, weights), "nats": softmax_cross_entropy(*flat)}

    def _codes(self, extra: dict, views: Views, index: Array) -> Array:
        codes = applied(self.coder, extra["tokenizer"], self._target(views))
        return jax.lax.stop_gradient(take_tokens(codes[..., None], index)[..., 0])

    def _target(self, views: Views) -> Array:
        """What the tokenizer sees [B, h, w, C]."""
        return views.get("target", views[self.view])[:, 0]
