"""Relative patch position: tell on which of eight sides of a patch its neighbour lies.

Doersch, Gupta, Efros 2015, "Unsupervised Visual Representation Learning by Context Prediction", arXiv 1505.05192.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jax import Array

from ssl_jax.data.image.pieces import cut, dropped_colours, pair_corners
from ssl_jax.objectives.base import Batch, Keys, Progress, Views
from ssl_jax.objectives.shared.forward import Chain
from ssl_jax.objectives.shared.pieces import Pieces


@dataclass(frozen=True)
class RelativePosition(Pieces):
    """Eight-way cross-entropy from the features of (patch, neighbour), in this order (section 3).

    Fidelity: the pair lies anywhere in the view where both patches fit; the paper takes pairs from a grid on a large image.
    Gap and jitter are the paper's at 96 pixels. In colour images each patch keeps one channel, the other two are noise
    (`drop_colours`); the other remedy, projecting out green-magenta, and the random low resolution of some patches are left
    out.
    """

    patch: int = 96
    gap: int = 48
    jitter: int = 7
    drop_colours: bool = True
    patch_hidden: tuple[int, ...] = ()
    patch_out: int = 4096
    hidden: tuple[int, ...] = (4096, 4096)
    head_norm: str = "batch"

    @property
    def modules(self) -> Chain:
        """The encoder, a head on each patch, and from both patches to eight places."""
        head = self.mlp(self.patch_hidden, self.patch_out, norm=self.head_norm, final_norm=True)
        return {"encoder": self.encoder, "head": head, "classifier": self.mlp(self.hidden, 8, norm=self.head_norm)}

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """Patch and neighbour [B, 2, patch, patch, C], and `label` [B], row by row without the patch."""
        image = self.augment(keys.example, batch)[self.view][:, 0]

        def pair(key: Array, image: Array) -> tuple[Array, Array]:
            key_corners, key_colours = jax.random.split(jax.random.fold_in(key, 1))
            corners, label = pair_corners(key_corners, image.shape, self.patch, self.gap, self.jitter)
            patches = cut(image, corners, self.patch)
            if self.drop_colours and image.shape[-1] == 3:
                patches = dropped_colours(key_colours, patches)
            return patches, label

        patches, label = jax.vmap(pair)(keys.example, image)
        return {self.view: patches, "label": label}
