"""The audio spectrogram transformer: a ViT on spectrograms whose patches overlap, with two tokens before them."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.mesh import shard_batch
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.models.layer import Layer
from ssl_jax.models.transformer import Transformer

PREFIX = 2  # the class token and that of distillation


class AST(nn.Module):
    """Gong, Chung, Glass 2021, arXiv 2104.01778: squares of `patch` bands and frames, one each `strides` (bands, frames).

    `bands` and `frames` are the size that positions were learned for. Tokens are ordered by band, then by frame, as published.
    Features are the mean of the two tokens before them.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    patch: int = 16
    strides: tuple[int, int] = (10, 10)
    bands: int = 128
    frames: int = 1024
    mlp: str = "gelu"
    qkv_bias: str = "all"  # all | query_value | none
    norm_epsilon: float = 1e-12
    dtype: str = "float32"
    remat: str = "full"
    unroll: int = 1
    attention: str = "xla"

    @property
    def grid(self) -> tuple[int, int]:
        """Patches over bands, and over frames."""
        sizes = zip((self.bands, self.frames), self.strides, strict=True)
        return tuple((size - self.patch) // stride + 1 for size, stride in sizes)  # type: ignore[return-value]

    @property
    def smallest(self) -> tuple[Any, ...]:
        """Shapes of inputs that it can be built with."""
        return (jax.ShapeDtypeStruct((1, self.frames, self.bands, 1), "float32"),)

    def setup(self) -> None:
        """The patches, the tokens before them, positions, and the stack."""
        normal, sides = nn.initializers.truncated_normal(0.02), (self.patch, self.patch)
        self.patches = nn.Conv(self.width, sides, self.strides[::-1], "VALID", dtype=self.dtype, kernel_init=normal)
        self.class_token = self.param("class_token", normal, (1, 1, self.width))
        self.distillation_token = self.param("distillation_token", normal, (1, 1, self.width))
        self.positions = self.param("positions", normal, (PREFIX + math.prod(self.grid), self.width))
        self.transformer = Transformer(
            self.depth, self.heads, self.mlp_dim, self.dtype, self.remat, self.unroll, self.attention, normal, self.mlp,
            qkv_bias=self.qkv_bias, norm_epsilon=self.norm_epsilon,
        )  # fmt: skip

    def __call__(self, spectrogram: Array, train: bool = False) -> Array:
        """Spectrograms [B, frames, bands, 1] -> tokens [B, 2 + N, D] after the final norm."""
        return self.transformer(self.embedded(spectrogram), train=train)

    def embedded(self, spectrogram: Array) -> Array:
        """What enters the stack, [B, 2 + N, D]."""
        if spectrogram.shape[1:3] != (self.frames, self.bands):
            raise UserError(
                f"model.frames={self.frames}, model.bands={self.bands}: spectrograms are of {spectrogram.shape[1:3]}; "
                "set both to that"
            )
        made = self.patches(spectrogram.astype(self.dtype))
        x = jnp.swapaxes(made, 1, 2).reshape(len(made), -1, self.width)
        before = jnp.concatenate([self.class_token, self.distillation_token], axis=1).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(before, (len(x), *before.shape[1:])), x], axis=1)
        return shard_batch(x + self.positions.astype(x.dtype))

    def features(self, spectrogram: Array, train: bool = False) -> Array:
        """Features [B, D]."""
        tokens = self(spectrogram, train)[:, :PREFIX]
        return tokens.mean(1, dtype=wide(tokens.dtype))

    def layers(self, spectrogram: Array, last: int) -> list[Layer]:
        """States after each of the `last` blocks, on a grid of frames and bands."""
        _, states = self.transformer.outputs(self.embedded(spectrogram), last=min(last, self.depth))
        made = () if states is None else states
        return [Layer(_frames_first(x[:, PREFIX:], self.grid), x[:, 0]) for x in made]


def _frames_first(tokens: Array, grid: tuple[int, int]) -> Array:
    return jnp.swapaxes(tokens.reshape(len(tokens), *grid, -1), 1, 2)
