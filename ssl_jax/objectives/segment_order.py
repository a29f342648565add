"""Segment order: tell in which order the shuffled segments of a recording are.

The jigsaw of Noroozi, Favaro 2016, arXiv 1603.09246, in time, as of frames in Misra, Zitnick, Hebert 2016, "Shuffle and Learn:
Unsupervised Learning using Temporal Order Verification", arXiv 1603.08561.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.audio.segments import levelled, orders, segments
from ssl_jax.data.audio.waves import Clip
from ssl_jax.objectives.base import Batch, Keys, Progress, Views
from ssl_jax.objectives.shared.forward import Chain, single
from ssl_jax.objectives.shared.pieces import Pieces


@dataclass(frozen=True)
class SegmentOrder(Pieces):
    """Cross-entropy over all orders of `segments` segments of `samples` samples, from features of each side by side.

    Segments lie in equal parts of what is valid of a wave, with random gaps between them, and each is levelled by itself, against
    edges and loudness that give the answer away. `out` is the width of the layer on each segment, `hidden` those of the layers
    on all of them.

    Fidelity: no published method does this with waves; the head is that of the jigsaw here.
    """

    segments: int = 4
    samples: int = 1600
    out: int = 128
    hidden: tuple[int, ...] = (256,)
    head_norm: str = "none"

    @property
    def modules(self) -> Chain:
        """The encoder, a layer on each segment, and from all of them to the orders."""
        head = self.mlp((), self.out, norm=self.head_norm)
        classifier = self.mlp(self.hidden, len(orders(self.segments)), norm=self.head_norm)
        return {"encoder": self.encoder, "head": head, "classifier": classifier}

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The segments, `wave` and `valid` [B, segments, samples], in the order of `label` [B]: place j holds `order[j]`."""
        clips = Clip(*single(self.given(self.augment(keys.example, batch))))
        every = jnp.asarray(orders(self.segments))

        def shuffled(key: Array, clip: Clip) -> tuple[Clip, Array]:
            key_places, key_order = jax.random.split(jax.random.fold_in(key, 1))
            label = jax.random.randint(key_order, (), 0, len(every))
            found = levelled(segments(key_places, clip, self.segments, self.samples))
            return jax.tree.map(lambda x: x[every[label]], found), label

        shown, label = jax.vmap(shuffled)(keys.example, clips)
        return dict(zip(self.augment.inputs, shown, strict=True)) | {"label": label}
