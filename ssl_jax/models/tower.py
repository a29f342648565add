"""What stands around encoders where several modalities meet: heads into one space, and the mean over frames."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.losses.contrastive import normalize


class Tower(nn.Module):
    """An encoder, and a head on its features: `features` are unit vectors of the space that towers share."""

    encoder: nn.Module
    head: nn.Module | None = None

    def features(self, *view: Array, train: bool = False) -> Array:
        """[B, F]."""
        h = self.encoder.features(*view, train=train)
        return normalize(h if self.head is None else self.head(h, train))

    @property
    def dtype(self) -> str:
        """What the encoder computes in."""
        return str(self.encoder.dtype)


class FrameMean(nn.Module):
    """Clips by an encoder of pictures: the mean over frames of what it gives of each."""

    encoder: nn.Module

    @property
    def width(self) -> int:
        """Of the features."""
        return int(self.encoder.width)

    @property
    def dtype(self) -> str:
        """What the encoder computes in."""
        return str(self.encoder.dtype)

    def __call__(self, clip: Array, train: bool = False) -> Array:
        """Clips [B, T, H, W, C] -> [B, T, F], of each frame."""
        batch, frames = clip.shape[:2]
        h = self.encoder.features(clip.reshape(batch * frames, *clip.shape[2:]), train=train)
        return h.reshape(batch, frames, -1)

    def features(self, clip: Array, train: bool = False) -> Array:
        """[B, F]."""
        h = self(clip, train)
        return jnp.mean(h, axis=1, dtype=wide(h.dtype)).astype(h.dtype)
