"""MaskFeat: histograms of oriented gradients of hidden patches, told by one layer on the states of mask tokens.

Wei, Fan, Xie, Wu, Yuille, Feichtenhofer 2021, "Masked Feature Prediction for Self-Supervised Visual Pre-Training",
arXiv 2112.09133.
"""

from __future__ import annotations

from dataclasses import dataclass

from jax import Array

from ssl_jax.data.image.hog import hog
from ssl_jax.data.masks.rectangles import one_view
from ssl_jax.errors import UserError
from ssl_jax.losses.regression import masked_patch_mse
from ssl_jax.models.grid import Grid, patchify, take_tokens
from ssl_jax.objectives.base import Out, Progress, Views
from ssl_jax.objectives.shared.masked_patches import MaskedPatches, Masking


@dataclass(frozen=True)
class MaskFeat(MaskedPatches):
    """Mean squared error on the histograms of hidden patches.

    cell: pixels along each side of a histogram's cell; it divides the patch. The paper has 8, and so four cells in a patch of 16.
    bins: directions that are told apart.
    smallest: patches of the smallest hidden block.

    Fidelity: the paper's images (section 4.2): 40 % of the patches in BEiT's blocks, 9 directions, cells of 8 pixels in patches
    of 16, every channel its own histogram. Votes are not weighted by a Gaussian window.
    """

    mask_ratio: float = 0.4
    smallest: int = 16
    cell: int = 8
    bins: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.encoder.patch, int) or self.encoder.patch % self.cell:
            raise UserError(
                f"objective.cell={self.cell} does not divide model.patch={self.encoder.patch}; use a divisor"
            )

    def masking(self, grid: Grid) -> Masking:
        """BEiT's blocks."""
        blocks = one_view(grid, self.mask_ratio, self.smallest)
        return Masking(blocks, blocks.slots)

    def outputs(self, channels: int) -> int:
        """The histograms of a patch."""
        return (self.encoder.patch // self.cell) ** 2 * self.bins * channels

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Mean squared error of the histograms of hidden patches."""
        slots = self.hidden(views)
        target = take_tokens(self.target(views), slots.index)
        return Out({"histograms": masked_patch_mse(self.told(params, views, slots, key), target, slots.valid)})

    def target(self, views: Views) -> Array:
        """What is predicted, [B, N, cells * C * bins]."""
        image = views[self.view][:, 0]
        return patchify(hog(image, self.cell, self.bins), self.encoder.patch // self.cell)
