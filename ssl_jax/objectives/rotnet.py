"""RotNet: tell by how many quarter turns an image was rotated.

Gidaris, Singh, Komodakis 2018, "Unsupervised Representation Learning by Predicting Image Rotations", arXiv 1803.07728.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.losses.classification import classification, with_chance
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Batch, Keys, Out, Progress, Views
from ssl_jax.objectives.shared.forward import BatchNormRule, Chain
from ssl_jax.objectives.shared.joint import JointEmbedding


@dataclass(frozen=True)
class RotNet(JointEmbedding):
    """Four-way cross-entropy over all four rotations of every image (eq. 2 and 3).

    Fidelity: all rotations of an image are in the same batch, as in the paper, so the encoder sees 4B images in one
    BatchNorm batch. Rotations move pixels and never interpolate; they come after the crop. The classifier is a linear
    layer on the encoder's features; the paper's is the end of its own network, and it evaluates layers in the middle.
    """

    head_norm: str = "batch"
    hidden: tuple[int, ...] = ()

    bn: BatchNormRule = field(default="joint", kw_only=True)
    compares = "nothing"

    @property
    def modules(self) -> Chain:
        """Encoder and classifier."""
        return {"encoder": self.encoder, "head": self.mlp(self.hidden, 4, norm=self.head_norm)}

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The first view of the augmentation, turned by 0, 90, 180 and 270 degrees: [B, 4, h, h, C]."""
        image = self.augment(keys.example, batch)[self.view][:, 0]
        require_square(image)
        return {self.view: rotations(image)}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Cross-entropy, and the accuracy of the pretext task."""
        outs, stats = self.student(params, extra, views[self.view], noise=key)
        logits = outs["head"]
        loss, accuracy = classification(logits, jnp.broadcast_to(jnp.arange(4), logits.shape[:2]))
        return Out({"cross_entropy": loss}, {"accuracy": accuracy}, batch_stats=stats)

    def validate(self, params: dict, extra: dict, views: Views, key: Array) -> dict[str, Mean]:
        """The accuracy of the pretext task, BatchNorm on the statistics of these views, and that of guessing."""
        return with_chance(self.loss(params, extra, views, key, Progress(0, 1)).metrics, 4)


def require_square(image: Array) -> None:
    """UserError unless images [..., h, w, C] are as wide as they are high."""
    if image.shape[-3] != image.shape[-2]:
        raise UserError(f"rotations need square views, these are {image.shape[-3:-1]}; set augment.size to one number")


def rotations(image: Array) -> Array:
    """Square images [B, h, h, C] turned counter-clockwise by k quarter turns -> [B, 4, h, h, C]."""
    return jnp.stack([jnp.rot90(image, k, axes=(1, 2)) for k in range(4)], axis=1)
