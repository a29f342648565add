"""Jigsaw: tell in which of a fixed set of orders the nine tiles of an image are.

Noroozi, Favaro 2016, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", arXiv 1603.09246.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.image.pieces import distant_orders, jittered_tiles, standardized_tiles
from ssl_jax.objectives.base import Batch, Keys, Progress, Views
from ssl_jax.objectives.shared.forward import Chain
from ssl_jax.objectives.shared.pieces import Pieces


@dataclass(frozen=True)
class Jigsaw(Pieces):
    """Cross-entropy over `permutations` orders, from features of each tile side by side (section 3).

    Fidelity: nine tiles with random gaps between them, each standardised by itself, against edges and colour fringes
    that give the answer away; the orders are a greedy choice far from each other, where ties go to the lexicographically
    first. `tile_out` is the layer on each tile (fc6 of 512 in the paper; 1000 in vissl), with BatchNorm over all 9B tiles and
    ReLU, `hidden` that on all nine (fc7; none in vissl).
    """

    permutations: int = 1000
    tile: int = 64
    tile_hidden: tuple[int, ...] = ()
    tile_out: int = 512
    hidden: tuple[int, ...] = (4096,)
    head_norm: str = "batch"

    @property
    def modules(self) -> Chain:
        """The encoder, a head on each tile, and from 9 x `tile_out` to the orders."""
        head = self.mlp(self.tile_hidden, self.tile_out, norm=self.head_norm, final_norm=True)
        classifier = self.mlp(self.hidden, self.permutations, norm=self.head_norm)
        return {"encoder": self.encoder, "head": head, "classifier": classifier}

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """The tiles [B, 9, tile, tile, C] in the order of `label` [B]: place j holds tile `order[j]` of the image."""
        image = self.augment(keys.example, batch)[self.view][:, 0]
        orders = jnp.asarray(distant_orders(self.permutations))

        def puzzle(key: Array, image: Array) -> tuple[Array, Array]:
            key_tiles, key_order = jax.random.split(jax.random.fold_in(key, 1))
            label = jax.random.randint(key_order, (), 0, self.permutations)
            return jittered_tiles(key_tiles, image, self.tile)[orders[label]], label

        tiles, label = jax.vmap(puzzle)(keys.example, image)
        return {self.view: standardized_tiles(tiles), "label": label}
