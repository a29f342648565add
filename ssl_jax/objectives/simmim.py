"""SimMIM: the pixels of hidden patches, told by one layer on the states of mask tokens.

Xie, Zhang, Cao, Lin, Bao, Yao, Dai, Hu 2021, "SimMIM: A Simple Framework for Masked Image Modeling", arXiv 2111.09886.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from ssl_jax.data.masks.units import UnitMask
from ssl_jax.data.panels import Panel
from ssl_jax.losses.regression import masked_l1, standardize
from ssl_jax.models.grid import Grid, patch_length, patchify, take_tokens
from ssl_jax.objectives.base import Out, Progress, Views
from ssl_jax.objectives.mae import BORROWED
from ssl_jax.objectives.shared.masked_patches import MaskedPatches, Masking


@dataclass(frozen=True)
class SimMIM(MaskedPatches):
    """Mean absolute error on the pixels of random units of patches.

    unit: patches along each axis that are hidden together; 2 are the paper's 32 pixels on patches of 16.
    normalize_pixels: targets are normalised within each patch (MAE's), which the paper does not do.

    Fidelity: as the authors' code, but for the epsilon of 1e-5 under the loss, and the order of the head's outputs, which here
    is row, column, channel as in MAE; theirs is channel, row, column.
    """

    mask_ratio: float = 0.6
    unit: int = 2
    normalize_pixels: bool = False

    def masking(self, grid: Grid) -> Masking:
        """Exactly `ceil(mask_ratio * units)` units."""
        units = UnitMask(grid, self.mask_ratio, self.unit)
        return Masking(units, units.slots)

    def outputs(self, channels: int) -> int:
        """The pixels of a patch."""
        return patch_length(self.encoder.patch, channels)

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Mean absolute error of hidden pixels."""
        slots = self.hidden(views)
        target = take_tokens(self.target(views), slots.index)
        return Out({"reconstruction": masked_l1(self.told(params, views, slots, key), target, slots.valid)})

    def target(self, views: Views) -> Array:
        """What is predicted, [B, N, p*p*C]."""
        patches = patchify(views[self.view][:, 0], self.encoder.patch)
        return standardize(patches, epsilon=1e-6, ddof=1) if self.normalize_pixels else patches

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """Input, masked input, and the reconstruction of hidden patches."""
        slots = self.hidden(views)
        vectors = self.told(params, views, slots)
        if not self.normalize_pixels:
            return self.filled(views, slots, vectors)
        patches = take_tokens(patchify(views[self.view][:, 0], self.encoder.patch), slots.index)
        std = jnp.sqrt(patches.var(-1, keepdims=True, ddof=1) + 1e-6)
        return self.filled(views, slots, vectors * std + patches.mean(-1, keepdims=True), BORROWED)
