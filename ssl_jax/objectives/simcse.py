"""SimCSE: a sentence and itself behind another dropout mask attract, all other sentences of the global batch repel.

Gao, Yao, Chen 2021, "SimCSE: Simple Contrastive Learning of Sentence Embeddings", arXiv 2104.08821.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import View, other_kinds
from ssl_jax.data.text.views import TextViews
from ssl_jax.errors import UserError
from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.streamed.contrastive import info_nce, passage_info_nce
from ssl_jax.models.text import TanhHead
from ssl_jax.objectives.base import Batch, Keys, Out, Pairwise, Progress, State, Views
from ssl_jax.objectives.shared.forward import Chain, applied, arrays_of, single
from ssl_jax.objectives.shared.joint import require_positive


@dataclass(frozen=True)
class SimCSE(Pairwise):
    """InfoNCE in one direction between two dropout views of each text; with labels, of a text, its like and its opposite.

    With an augmentation of one kind (`augment.count=2`) the two views differ by dropout alone. With `PairViews` the views of the
    kind "passage" are the positive and, if there is one, the hard negative, whose logit gets `hard_weight` (eq. 5).

    Fidelity: as the authors' code: cosines over 0.05, one direction only, a dense layer with tanh that is there in training only.
    Negatives are those of the global batch, with gradient on both sides: what one device computes for the same batch.
    """

    encoder: nn.Module
    augment: TextViews
    temperature: float = 0.05
    hard_weight: float = 0.0
    method: str = "auto"

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature)
        if not self.encoder.dropout and self.augment.count > 1:
            raise UserError("simcse tells two views of a text apart by dropout alone; set model.dropout=0.1")

    @property
    def modules(self) -> Chain:
        """The encoder, and the layer that only training sees."""
        return {"encoder": self.encoder, "head": TanhHead(self.encoder.width, self.encoder.dtype)}

    def init(self, key: Array, views: Views) -> State:
        """Parameters of both."""
        keys = jax.random.split(key)
        text = arrays_of(single(self.given(views)))
        encoder = self.encoder.init(keys[0], *text, method="features")["params"]
        head = self.modules["head"].init(keys[1], jnp.zeros((1, self.encoder.width), self.encoder.dtype))["params"]
        return State({"encoder": encoder, "head": head}, {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The augmentation's views."""
        return self.augment(keys.example, batch)

    def embed(self, params: dict, extra: dict, views: Views, key: Array) -> tuple[Array, tuple]:
        """Unit vectors [B, K, D] of all views, each behind its own dropout mask."""
        kinds = [self.given(views), *other_kinds(views, self.augment.inputs).values()]
        found = [self._embedded(params, kind, jax.random.fold_in(key, i)) for i, kind in enumerate(kinds)]
        return normalize(jnp.concatenate(found, axis=1)), ()

    def score(self, params: dict, extra: dict, embeddings: Array, progress: Progress) -> Out:
        """Cross-entropy of each text's own other view."""
        z, others = embeddings[:, 0], embeddings[:, 1:]
        if others.shape[1] == 1:
            return Out({"info_nce": info_nce(z, others[:, 0], self.temperature, self.method)})
        return Out({"info_nce": passage_info_nce(z, others, self.temperature, self.hard_weight, method=self.method)})

    def embeddings(self, params: dict, extra: dict, batch: Batch) -> dict[str, Array]:
        """What the loss compares, [B, D], without dropout."""
        text = self.augment.evaluation(batch)
        h = applied(self.encoder, params["encoder"], *(text[name] for name in self.augment.inputs), method="features")
        return {"head": normalize(applied(self.modules["head"], params["head"], h))}

    def _embedded(self, params: dict, view: View, key: Array) -> Array:
        texts = arrays_of(view)
        batch, count = texts[0].shape[:2]
        rows = (x.reshape(batch * count, -1) for x in texts)
        h = applied(self.encoder, params["encoder"], *rows, train=True, method="features", rngs={"noise": key})
        return applied(self.modules["head"], params["head"], h).reshape(batch, count, -1)
