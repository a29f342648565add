"""MAE: reconstruct the pixels of the three quarters of an image that the encoder never saw.

He, Chen, Xie, Li, Dollar, Girshick 2021, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.data.augment import Normalised
from ssl_jax.data.masks.noise import random_keep
from ssl_jax.data.panels import Panel, panel_of
from ssl_jax.errors import UserError
from ssl_jax.losses.regression import masked_patch_mse, standardize
from ssl_jax.models.grid import TABLES, Grid, grid_of, patch_length, patchify, unpatchify
from ssl_jax.models.heads import MaskedDecoder
from ssl_jax.objectives.base import Batch, Keys, Objective, Out, Progress, State, Views
from ssl_jax.objectives.shared.forward import applied, drawing

BORROWED = "Targets are normalised per patch: mean and contrast of the reconstruction are borrowed from the input."


@dataclass(frozen=True)
class MAE(Objective):
    """Asymmetric autoencoder with normalised-pixel targets.

    decoder_window, decoder_shift: patches along each axis within which the decoder attends, and by how many the borders of every
        other block stand earlier; () is attention to all. AudioMAE (Huang et al. 2022, arXiv 2207.06405) has (4, 4) and (2, 0).

    Fidelity: as the authors' code: patch vectors in (row, column, channel) order, targets normalised per patch with the
    N - 1 variance and epsilon 1e-6, the loss on removed patches only, column-first sin-cos tables. Patches are gathered
    before the patch embedding, which is the same function at less cost. Noise is drawn per example, so that a mask does
    not depend on the place in the batch.
    """

    encoder: nn.Module
    augment: Normalised
    mask_ratio: float = 0.75
    normalize_pixels: bool = True
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    decoder_mlp_ratio: float = 4.0
    decoder_window: tuple[int, ...] = ()
    decoder_shift: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise UserError(f"objective.mask_ratio={self.mask_ratio} must be between 0 and 1; the paper uses 0.75")

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Encoder and decoder, here that of pictures with one channel."""
        return {"encoder": self.encoder, "decoder": self._decoder(1)}

    def init(self, key: Array, views: Views) -> State:
        """`params`: encoder, decoder. No extra state."""
        key_encoder, key_decoder = jax.random.split(key)
        image, grid = views[self.view][:, 0], self._grid(views)
        keep, restore, _ = self._mask(views)
        encoder = self.encoder.init(key_encoder, image, keep)["params"]
        tokens = applied(self.encoder, encoder, image, keep)
        decoder = self._decoder(image.shape[-1]).init(key_decoder, tokens, restore, grid)["params"]
        return State({"encoder": encoder, "decoder": decoder}, {})

    def views(self, keys: Keys, batch: Batch, progress: Progress) -> Views:
        """One view [B, 1, h, w, C] and `noise` [B, N]; the patches with the smallest noise are kept."""
        views = self.augment(keys.example, batch)
        patches = self.drawn(self._grid(views))
        noise = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 1), (patches,)))(keys.example)
        return views | {"noise": noise}

    def loss(self, params: dict, extra: dict, views: Views, key: Array, progress: Progress) -> Out:
        """Mean squared error on the removed patches."""
        prediction, mask = self.reconstruct(params, views, key)
        return Out({"reconstruction": masked_patch_mse(prediction, self.target(views), mask)})

    def reconstruct(self, params: dict, views: Views, noise: Array | None = None) -> tuple[Array, Array]:
        """Predictions for every patch [B, N, p*p*C], in target units, and the mask [B, N] (1 = removed).

        With the key `noise` as in training.
        """
        keep, restore, mask = self._mask(views)
        image = views[self.view][:, 0]
        tokens = applied(self.encoder, params["encoder"], image, keep, **drawing(noise))
        decoder = self._decoder(image.shape[-1])
        return applied(decoder, params["decoder"], tokens, restore, self._grid(views)), mask

    def target(self, views: Views) -> Array:
        """What is predicted, [B, N, p*p*C]: pixels, normalised within each patch if `normalize_pixels`."""
        patches = patchify(views[self.view][:, 0], self.encoder.patch)
        return standardize(patches, epsilon=1e-6, ddof=1) if self.normalize_pixels else patches

    def drawn(self, grid: Grid) -> int:
        """How many numbers of noise say which patches are kept."""
        return math.prod(grid)

    def statistics(self, patches: Array) -> tuple[Array, Array]:
        """Mean and standard deviation that normalise patches [B, N, L], which `show` gives back to what is predicted."""
        return patches.mean(-1, keepdims=True), jnp.sqrt(patches.var(-1, keepdims=True, ddof=1) + 1e-6)

    def preview(self, views: Views) -> dict[str, Panel]:
        """The input and what is left of it."""
        image, masked = self._masked(views)
        return {"masks": panel_of(self.augment.upright(jnp.stack([image, masked], axis=1)), ("input", "masked"))}

    def show(self, params: dict, extra: dict, views: Views) -> dict[str, Panel]:
        """Input, masked input, and the reconstruction on removed patches."""
        prediction, mask = self.reconstruct(params, views)
        patches = patchify(views[self.view][:, 0], self.encoder.patch)
        note = ""
        if self.normalize_pixels:
            mean, std = self.statistics(patches)
            prediction = prediction * std + mean
            note = BORROWED
        filled = jnp.where(mask[..., None] > 0, prediction, patches)
        filled = self.augment.denormalise(unpatchify(filled, self.encoder.patch, self._grid(views)))
        rows = self.augment.upright(jnp.stack([*self._masked(views), filled], axis=1))
        return {"reconstruction": panel_of(rows, ("input", "masked", "reconstruction"), note)}

    def _grid(self, views: Views) -> Grid:
        return grid_of(views[self.view].shape, self.encoder.patch)

    def _mask(self, views: Views) -> tuple[Array, Array, Array]:
        return random_keep(views["noise"], self.mask_ratio)

    def _decoder(self, channels: int) -> MaskedDecoder:
        width = self.decoder_width
        return MaskedDecoder(
            out=patch_length(self.encoder.patch, channels),
            prefix=self.encoder.prefix,
            width=width,
            depth=self.decoder_depth,
            heads=self.decoder_heads,
            mlp_dim=int(self.decoder_mlp_ratio * width),
            dtype=self.encoder.dtype,
            remat=self.encoder.remat,
            unroll=self.encoder.unroll,
            attention=self.encoder.attention,
            positions=self.encoder.positions if self.encoder.positions in TABLES else "sincos",
            window=tuple(self.decoder_window),
            shift=tuple(self.decoder_shift),
        )

    def _masked(self, views: Views) -> tuple[Array, Array]:
        image = self.augment.denormalise(views[self.view][:, 0])
        patches, (_, _, mask) = patchify(image, self.encoder.patch), self._mask(views)
        grey = jnp.where(mask[..., None] > 0, 0.5, patches)
        return image, unpatchify(grey, self.encoder.patch, self._grid(views))
