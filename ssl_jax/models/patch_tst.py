"""PatchTST: a transformer on patches of one channel at a time.

Nie, Nguyen, Sinthong, Kalagnanam 2022, "A Time Series is Worth 64 Words", arXiv 2211.14730.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.mesh import shard_batch
from ssl_jax.errors import UserError
from ssl_jax.models.dropout import Dropout
from ssl_jax.models.grid import cell_means
from ssl_jax.models.layer import Layer
from ssl_jax.models.mask import Mask
from ssl_jax.models.rows import Dense
from ssl_jax.models.transformer import Style, Transformer
from ssl_jax.models.windows import instance_normal, joined, patch_count, patches_of


def around_zero(key: Array, shape: tuple[int, ...]) -> Array:
    """Numbers from -0.02 to 0.02: the authors' table of positions."""
    return jax.random.uniform(key, shape, minval=-0.02, maxval=0.02)


class PatchTransformer(nn.Module):
    """Windows [B, T, C] -> states of their patches [B, C, P, D]: every channel goes through the same transformer, alone.

    A channel is brought to mean 0 and deviation 1 by its own values (RevIN), so that the states know nothing of level and scale.
    Missing values are 0 after that, and a patch in which all are missing is attended to by nobody. `length` is the number of
    steps of a window, for which there is a learned position for each patch. `order="post"` and `norm="batch"` are the paper's;
    transformers' PatchTST is `order="pre"` unless its config.json says otherwise. `features` are the means of `cells` equal parts
    of the patches, side by side, and so are channels.
    """

    width: int = 128
    depth: int = 3
    heads: int = 16
    mlp_dim: int = 512
    patch: int = 12
    stride: int = 12
    length: int = 512
    cells: int = 1
    norm: str = "batch"  # batch | layer
    order: str = "post"  # post | pre
    dropout: float = 0.2
    attention_dropout: float = 0.0
    dtype: str = "float32"
    remat: str = "none"
    unroll: int = 1
    attention: str = "xla"
    mlp: str = "gelu"
    norm_epsilon: float = 1e-5

    @property
    def smallest(self) -> tuple[Any, ...]:
        """Shapes of a window of one channel."""
        return tuple(jax.ShapeDtypeStruct((1, self.length, 1), kind) for kind in ("float32", "bool"))

    def setup(self) -> None:
        """The embedding of patches, the positions, and the stack."""
        count = patch_count(self.length, self.patch, self.stride)
        self.embed = Dense(
            self.width, dtype=self.dtype, kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        )
        self.positions = self.param("positions", around_zero, (count, self.width))
        self.transformer = Transformer(
            self.depth, self.heads, self.mlp_dim, self.dtype, self.remat, self.unroll, self.attention, mlp=self.mlp,
            norm_epsilon=self.norm_epsilon, style=Style(self.norm, self.order, final_norm=False),
            dropout=Dropout(self.dropout, self.attention_dropout, self.dropout, self.dropout),
        )  # fmt: skip

    def __call__(self, series: Array, valid: Array, hidden: Array | None = None, train: bool = False) -> Array:
        """States [B, C, P, D]; the patches that are `hidden` [B, C, P] are zeros to the model."""
        x, told = self._rows(series, valid, hidden)
        return self._apart(self.transformer(x, Mask(told), train=train), series)

    def features(self, series: Array, valid: Array, train: bool = False) -> Array:
        """Features [B, C * cells * D]."""
        states = self(series, valid, train=train)
        batch, channels, count, width = states.shape
        means = cell_means(states.reshape(batch * channels, count, width), (count,), (min(self.cells, count),))
        return means.reshape(batch, -1)

    def layers(self, series: Array, valid: Array, last: int) -> list[Layer]:
        """The states [B, P, C * D] after each of the `last` layers, channels side by side."""
        x, told = self._rows(series, valid, None)
        _, states = self.transformer.outputs(x, Mask(told), last=min(last, self.depth))
        return [Layer(self._along(self._apart(each, series))) for each in (() if states is None else states)]

    def _rows(self, series: Array, valid: Array, hidden: Array | None) -> tuple[Array, Array]:
        """What enters the stack [B * C, P, D], and which patches hold anything [B * C, P]."""
        if series.shape[1] != self.length:
            raise UserError(f"model.length={self.length}, and windows have {series.shape[1]} steps; give both the same")
        normal = instance_normal(series, valid).series.astype(self.dtype)
        patches = shard_batch(patches_of(normal, self.patch, self.stride))
        told = patches_of(valid, self.patch, self.stride).any(axis=-1)
        patches = patches if hidden is None else jnp.where(hidden[..., None], 0, patches)
        x = self.embed(patches) + self.positions.astype(self.dtype)
        return x.reshape(-1, *x.shape[2:]), told.reshape(-1, told.shape[-1])

    def _apart(self, x: Array, series: Array) -> Array:
        """[B * C, P, D] -> [B, C, P, D]."""
        return shard_batch(x.reshape(len(series), -1, *x.shape[1:]))

    def _along(self, states: Array) -> Array:
        """[B, C, P, D] -> [B, P, C * D]."""
        batch, channels, count, width = states.shape
        return states.transpose(0, 2, 1, 3).reshape(batch, count, channels * width)


class PatchHead(nn.Module):
    """States of patches -> the values of each patch, by one linear layer behind dropout."""

    patch: int
    dropout: float = 0.2
    dtype: str = "float32"

    @nn.compact
    def __call__(self, states: Array, train: bool = False) -> Array:
        """[B, C, P, D] -> [B, C, P, patch]."""
        x = nn.Dropout(self.dropout, deterministic=not train, rng_collection="noise")(states)
        return Dense(self.patch, dtype=self.dtype, name="linear")(x)


class Surprise(nn.Module):
    """How wrong an encoder with its head is about every value of a window when it does not see the patch that it lies in.

    Every `groups`-th patch is hidden at once, so that each is hidden in one of `groups` passes.
    """

    encoder: PatchTransformer
    head: PatchHead
    groups: int = 4

    def features(self, series: Array, valid: Array, train: bool = False) -> Array:
        """Squared errors [B, T, 1] in units of the channel's deviation, averaged over channels; 0 where nothing is valid."""
        size, step = self.encoder.patch, self.encoder.stride
        count = patch_count(series.shape[1], size, step)
        shown = jnp.zeros((*series.shape[::2], count, size), jnp.float32)
        for group in range(self.groups):
            hidden = jnp.broadcast_to(jnp.arange(count) % self.groups == group, shown.shape[:3])
            found = self.head(self.encoder(series, valid, hidden, train), train).astype(jnp.float32)
            shown = jnp.where(hidden[..., None], found, shown)
        wrong = jnp.square(joined(shown, series.shape[1], step) - instance_normal(series, valid).series) * valid
        return (wrong.sum(axis=-1) / jnp.maximum(valid.sum(axis=-1), 1))[..., None]
