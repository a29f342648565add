"""HTS-AT: a Swin transformer on log-mel spectrograms, the encoder of sounds of LAION's CLAP.

Chen et al. 2022, "HTS-AT", arXiv 2202.00874; Liu et al. 2021, "Swin Transformer", arXiv 2103.14030.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.devices.mesh import shard_batch
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.models.attention import Qkv, attend
from ssl_jax.models.grid import patchify
from ssl_jax.models.norm import Norm
from ssl_jax.models.rows import Dense, LayerNorm, gelu

_APART = -100.0  # the logit of a token that was rolled in from the other side, as in Swin's code
EPSILON = 1e-5
INIT = nn.initializers.truncated_normal(0.02)


class HTSAT(nn.Module):
    """Spectrograms [B, T, F, 1] of `bands` bands and up to `size`^2 / F frames; shorter ones are followed by zeros.

    A spectrogram is cut into stretches, which are stacked by frequency to a square of `size`, and patches of that go through
    stages of windowed attention, with a merging of 2 x 2 tokens between two of them. `features` is the mean of all tokens.

    Fidelity: LAION stretches shorter clips to the square's length instead; give it as many frames as it takes. `norm="batch"` is
    theirs, of each band over time.
    """

    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 8
    patch: int = 4
    size: int = 256
    bands: int = 64
    mlp_ratio: float = 4.0
    norm: str = "batch"  # batch | none
    dtype: str = "float32"

    def __post_init__(self) -> None:
        side = self.size // self.patch
        if self.size % self.bands or self.size % self.patch or side % 2 ** (len(self.depths) - 1):
            raise UserError(
                f"model.size={self.size}: a multiple of bands={self.bands}, and of patch={self.patch} x "
                f"{2 ** (len(self.depths) - 1)}, since every stage but the last halves its sides"
            )
        if len(self.depths) != len(self.heads):
            raise UserError(f"model.depths={self.depths} and model.heads={self.heads}: one of each for a stage")
        super().__post_init__()

    @property
    def frames(self) -> int:
        """The longest spectrogram."""
        return self.size * self.size // self.bands

    @nn.compact
    def __call__(self, spectrogram: Array, train: bool = False) -> Array:
        """Tokens [B, h, w, D] after the last stage and its norm."""
        x = Norm(self.norm, self.dtype, name="mel")(shard_batch(spectrogram[..., 0]), train)
        patches = patchify(self._square(x)[..., None].astype(self.dtype), self.patch)
        x = Dense(self.width, dtype=self.dtype, kernel_init=INIT, name="patch_embed")(patches)
        x = LayerNorm(EPSILON, self.dtype, name="patch_norm")(x)
        x = x.reshape(len(x), self.size // self.patch, self.size // self.patch, self.width)
        for stage, (depth, heads) in enumerate(zip(self.depths, self.heads, strict=True)):
            for block in range(depth):
                half = self.window // 2 if block % 2 else 0
                name = f"stage{stage}_block{block}"
                x = WindowBlock(heads, self.mlp_ratio, self.window, half, self.dtype, name=name)(shard_batch(x))
            x = x if stage == len(self.depths) - 1 else Merging(self.dtype, name=f"stage{stage}_merge")(x)
        return LayerNorm(EPSILON, self.dtype, name="norm")(x)

    def features(self, spectrogram: Array, train: bool = False) -> Array:
        """[B, D]."""
        x = self(spectrogram, train)
        return x.mean(axis=(1, 2), dtype=wide(x.dtype))

    def _square(self, x: Array) -> Array:
        """Spectrograms [B, T, F] -> [B, size, size]: stretches one upon another, each with its bands from low to high."""
        batch, frames, bands = x.shape
        if bands != self.bands or frames > self.frames:
            raise UserError(
                f"model.bands={self.bands} and up to {self.frames} frames, and a spectrogram has {bands} and {frames}: set "
                "bands and frames of augment"
            )
        whole = jnp.pad(x, ((0, 0), (0, self.frames - frames), (0, 0)))
        stretches = whole.reshape(batch, self.size // bands, self.size, bands)
        return stretches.swapaxes(2, 3).reshape(batch, self.size, self.size)


class WindowBlock(nn.Module):
    """Attention within windows of `window` x `window` tokens, which are moved by `shift`, and an MLP."""

    heads: int
    mlp_ratio: float
    window: int
    shift: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, h, w, D] -> the same."""
        _, rows, columns, width = x.shape
        side = min(rows, columns)
        window, shift = (self.window, self.shift) if side > self.window else (side, 0)
        if rows % window or columns % window:
            raise UserError(f"model.window={self.window} divides no map of {rows} x {columns} tokens")
        dense = partial(Dense, dtype=self.dtype, kernel_init=INIT)
        norm = partial(LayerNorm, EPSILON, self.dtype)
        h = jnp.roll(norm(name="norm1")(x), (-shift, -shift), (1, 2))
        cut = _windows(h, window)
        projected = Qkv(self.heads, "all", self.dtype, INIT, name="qkv")(cut.reshape(-1, *cut.shape[2:]))
        query, key, value = jnp.moveaxis(projected.reshape(*cut.shape[:3], *projected.shape[2:]), 3, 0)
        bias = self._bias(window) + jnp.asarray(_apart(rows, columns, window, shift))[:, None]
        seen = jax.vmap(partial(attend, bias=bias))(query, key, value)
        h = _whole(dense(width, axes=2, name="proj")(seen), rows, columns, window)
        x = x + jnp.roll(h, (shift, shift), (1, 2))
        h = gelu(dense(int(self.mlp_ratio * width), name="fc1")(norm(name="norm2")(x)))
        return x + dense(width, name="fc2")(h)

    def _bias(self, window: int) -> Array:
        """[H, N, N]: a number for each head and distance, of a table for windows of the full size."""
        table = self.param("relative_position_bias_table", INIT, ((2 * window - 1) ** 2, self.heads))
        return table[_distances(window)].transpose(2, 0, 1)


class Merging(nn.Module):
    """2 x 2 tokens side by side, a norm, and a linear layer to twice the width."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, h, w, D] -> [B, h / 2, w / 2, 2 D]."""
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged = LayerNorm(EPSILON, self.dtype, name="norm")(jnp.concatenate(corners, axis=-1))
        return Dense(2 * x.shape[-1], dtype=self.dtype, kernel_init=INIT, use_bias=False, name="reduce")(merged)


def _windows(x: Array, window: int) -> Array:
    """[B, h, w, D] -> [B, W, N, D]."""
    batch, height, width, size = x.shape
    apart = x.reshape(batch, height // window, window, width // window, window, size)
    return apart.swapaxes(2, 3).reshape(batch, -1, window * window, size)


def _whole(x: Array, height: int, width: int, window: int) -> Array:
    """The opposite of `_windows`."""
    apart = x.reshape(len(x), height // window, width // window, window, window, -1)
    return apart.swapaxes(2, 3).reshape(len(x), height, width, -1)


def _distances(window: int) -> np.ndarray:
    """Int [N, N]: which row of the table is for a query and a key, by their distance."""
    place = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij")).reshape(2, -1)
    apart = place[:, :, None] - place[:, None] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def _apart(height: int, width: int, window: int, shift: int) -> np.ndarray:
    """Float32 [W, N, N]: 0, and -100 between tokens of a moved window that were no neighbours before."""
    region = lambda n: np.digitize(np.arange(n), [n - window, n - shift]) if shift else np.zeros(n, int)  # noqa: E731
    regions = 3 * region(height)[:, None] + region(width)
    cut = regions.reshape(height // window, window, width // window, window).swapaxes(1, 2).reshape(-1, window * window)
    return np.where(cut[:, :, None] == cut[:, None], 0.0, _APART).astype(np.float32)
