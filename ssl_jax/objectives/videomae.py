"""VideoMAE: reconstruct the pixels of tubes, patches that are hidden in every frame of a clip.

Tong, Song, Wang, Wang 2022, "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training",
arXiv 2203.12602.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from ssl_jax.data.masks.noise import frame_keep, random_keep, tube_keep
from ssl_jax.data.video.views import ClipViews
from ssl_jax.errors import UserError
from ssl_jax.models.grid import Grid, patchify
from ssl_jax.objectives.base import Views
from ssl_jax.objectives.mae import MAE

EPSILON = 1e-6
MASKINGS = ("tube", "random", "frame")


@dataclass(frozen=True)
class VideoMAE(MAE):
    """MAE on clips: tubelets of a ViT with a patch of three axes, pixels normalised by channel.

    masking: what is hidden together, as in the paper's table 1b: a patch in all frames (`"tube"`), each tubelet by itself
        (`"random"`; Feichtenhofer, Fan, Li, He 2022, arXiv 2205.09113), or all of some frames (`"frame"`). Where motion is slow,
        the latter two can copy what they lack from frames before and after, as far as they know how it moves.

    Fidelity: as the authors' code: each channel of a tubelet is normalised by itself, with the N - 1 variance and epsilon 1e-6
    beside the root, of pixels in [0, 1]. The released models have the option `positions="sequence"`, which the decoder
    shares, no class token, and no bias for keys (`qkv_bias="query_value"`; the decoder here has one, which changes nothing).
    """

    augment: ClipViews
    mask_ratio: float = 0.9
    decoder_width: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6
    masking: str = "tube"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.masking not in MASKINGS:
            raise UserError(f"objective.masking={self.masking!r} is unknown; use one of {', '.join(MASKINGS)}")

    def drawn(self, grid: Grid) -> int:
        """The patches of one frame, those of all, or the frames of patches: what is hidden or kept by itself."""
        frames, patches = grid[0], math.prod(grid[1:])
        return {"tube": patches, "random": frames * patches, "frame": frames}[self.masking]

    def target(self, views: Views) -> Array:
        """What is predicted, [B, N, t*p*p*C]: pixels, each channel normalised within each tubelet if `normalize_pixels`."""
        patches = patchify(views[self.view][:, 0], self.encoder.patch)
        mean, deviation = self.statistics(patches)
        return (patches - mean) / deviation if self.normalize_pixels else patches

    def statistics(self, patches: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of each channel of tubelets [B, N, L], the latter with an epsilon in units of pixels."""
        scale = jnp.asarray(self.augment.std, patches.dtype)
        apart = patches.reshape(*patches.shape[:2], -1, self._channels(patches))
        mean, deviation = apart.mean(2, keepdims=True), apart.std(2, keepdims=True, ddof=1) + EPSILON / scale
        mean, deviation = (jnp.broadcast_to(x, apart.shape).reshape(patches.shape) for x in (mean, deviation))
        return mean, deviation

    def _channels(self, patches: Array) -> int:
        return patches.shape[-1] // math.prod(self.encoder.patch)

    def _mask(self, views: Views) -> tuple[Array, Array, Array]:
        frames, *sides = self._grid(views)
        if self.masking == "tube":
            return tube_keep(views["noise"], frames, self.mask_ratio)
        if self.masking == "frame":
            return frame_keep(views["noise"], math.prod(sides), self.mask_ratio)
        return random_keep(views["noise"], self.mask_ratio)
