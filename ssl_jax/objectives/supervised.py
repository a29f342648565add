"""Supervised classification from scratch: the baseline that every pretrained encoder is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.image.views import panel_of_views
from ssl_jax.data.panels import Panel
from ssl_jax.losses.classification import classification
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.objectives.base import Batch, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.forward import forward, forward_views, init_variables


@dataclass(frozen=True)
class Supervised(Objective):
    """Softmax cross-entropy on `label`, through a linear layer on what `method` of the encoder gives of one view."""

    classes: int = 10
    method: str = "features"

    @property
    def head(self) -> ProjectionHead:
        """One linear layer."""
        return ProjectionHead((), self.classes, "none", dtype=self.encoder.dtype)

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, head. `extra`: the encoder's BatchNorm statistics, if any."""
        key_encoder, key_head = jax.random.split(key)
        image = views["image"][:, 0]
        encoder, stats = init_variables(self.encoder, key_encoder, image, method=self.method)
        h, _ = forward(self.encoder, encoder, stats, image, method=self.method)
        head, _ = init_variables(self.head, key_head, h)
        extra = {} if stats is None else {"batch_stats": {"encoder": stats}}
        return State({"encoder": encoder, "head": head}, extra)

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """`image` [B, 1, h, w, C], the first view of the augmentation, and `label` [B]."""
        return {"image": self.augment(keys.example, batch)["image"][:, :1], "label": batch["label"]}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy, and the accuracy on the training batch."""
        stats = extra.get("batch_stats", {}).get("encoder")
        h, stats = forward_views(self.encoder, params["encoder"], stats, views["image"], method=self.method)
        logits, _ = forward_views(self.head, params["head"], None, h)
        labels = jnp.broadcast_to(views["label"][:, None], logits.shape[:2])
        loss, accuracy = classification(logits, labels)
        new = {} if stats is None else {"encoder": stats}
        return Out({"cross_entropy": loss}, {"accuracy": accuracy}, batch_stats=new)

    def preview(self, views: Views) -> dict[str, Panel]:
        """The views of each image, side by side."""
        return {"views": panel_of_views(views["image"], self.augment.denormalise)}
