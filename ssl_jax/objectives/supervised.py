"""Supervised classification from scratch: the baseline that every pretrained encoder is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.losses.classification import classification
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.objectives.base import Batch, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.forward import arrays_of, forward, forward_views, init_variables, single


@dataclass(frozen=True)
class Supervised(Objective):
    """Softmax cross-entropy on the field `label`, through a linear layer on what `method` of the encoder gives of one view."""

    encoder: nn.Module
    classes: int = 10
    label: str = "label"
    method: str = "features"

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The encoder, and one linear layer."""
        head = ProjectionHead((), self.classes, "none", dtype=getattr(self.encoder, "dtype", "float32"))
        return {"encoder": self.encoder, "head": head}

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, head. `extra`: the encoder's BatchNorm statistics, if any."""
        key_encoder, key_head = jax.random.split(key)
        view = arrays_of(single(self.given(views)))
        encoder, stats = init_variables(self.encoder, key_encoder, *view, method=self.method)
        h, _ = forward(self.encoder, encoder, stats, *view, method=self.method, noise=key_encoder)
        head, _ = init_variables(self.modules["head"], key_head, h)
        extra = {} if stats is None else {"batch_stats": {"encoder": stats}}
        return State({"encoder": encoder, "head": head}, extra)

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The first view [B, 1, ...] of the augmentation, and the labels [B] under their name."""
        views = self.augment(keys.example, batch)
        return {name: views[name][:, :1] for name in self.augment.inputs} | {self.label: batch[self.label]}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy, and the accuracy on the training batch."""
        stats = extra.get("batch_stats", {}).get("encoder")
        h, stats = forward_views(
            self.encoder, params["encoder"], stats, self.given(views), method=self.method, noise=key
        )
        logits, _ = forward_views(self.modules["head"], params["head"], None, h)
        labels = jnp.broadcast_to(views[self.label][:, None], logits.shape[:2])
        loss, accuracy = classification(logits, labels)
        new = {} if stats is None else {"encoder": stats}
        return Out({"cross_entropy": loss}, {"accuracy": accuracy}, batch_stats=new)
