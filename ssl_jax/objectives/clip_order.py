"""Clip order: tell in which order short clips of a video come, each of which is encoded by itself.

Xu, Xiao, Zhao, Shao, Xie, Zhuang 2019, "Self-Supervised Spatiotemporal Learning via Video Clip Order Prediction", CVPR.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.video.parts import short_clips
from ssl_jax.data.video.views import ClipViews
from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Batch, Keys, Progress, Views
from ssl_jax.objectives.frame_order import MOST_PARTS, sorted_parts
from ssl_jax.objectives.shared.forward import Chain
from ssl_jax.objectives.shared.pieces import Pieces


@dataclass(frozen=True)
class ClipOrder(Pieces):
    """Cross-entropy over all orders of `parts` short clips of `frames` frames, from features of each side by side.

    They lie in equal parts of a view, with random gaps between them, against edges that fit each other. Where motion is even,
    two orders that are each other's reverse differ in nothing but which way it goes: clips of several frames show that, and
    single frames cannot. `out` is the width of the layer on each clip, `hidden` those of the layers on all of them.

    Fidelity: the paper joins features of clips pair by pair before they meet, and its gaps are of a fixed length.
    """

    augment: ClipViews
    parts: int = 3
    frames: int = 8
    out: int = 128
    hidden: tuple[int, ...] = (256,)
    head_norm: str = "none"

    def __post_init__(self) -> None:
        if not 2 <= self.parts <= MOST_PARTS or self.frames < 1:
            raise UserError(
                f"objective.parts={self.parts}, objective.frames={self.frames}: use 2 to {MOST_PARTS} clips of at least a frame"
            )

    @property
    def modules(self) -> Chain:
        """The encoder, a layer on each clip, and from all of them to the orders."""
        head = self.mlp((), self.out, norm=self.head_norm)
        classifier = self.mlp(self.hidden, len(sorted_parts(self.parts)), norm=self.head_norm)
        return {"encoder": self.encoder, "head": head, "classifier": classifier}

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The short clips [B, parts, frames, h, w, C] in the order of `label` [B]: place j holds `order[j]`."""
        orders = jnp.asarray(sorted_parts(self.parts))[:, 0]

        def shuffled(key: Array, clip: Array) -> tuple[Array, Array]:
            key_places, key_order = jax.random.split(jax.random.fold_in(key, 1))
            label = jax.random.randint(key_order, (), 0, len(orders))
            return short_clips(key_places, clip, self.parts, self.frames)[orders[label]], label

        clips, label = jax.vmap(shuffled)(keys.example, self.augment(keys.example, batch)[self.view][:, 0])
        return {self.view: clips, "label": label}
