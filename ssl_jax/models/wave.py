"""Encoders of long sequences: convolutions make frames of waves, and what comes after them tells frames by their neighbours.

A sequence is two arrays: `wave` [B, T] or [B, T, C] and `valid` [B, T], which says what is no padding (of series with channels,
[B, T, C]: a step counts where any channel does). A frame is valid where all that it is made of is.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.mesh import shard_batch
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.models.dropout import Dropout
from ssl_jax.models.layer import Layer
from ssl_jax.models.mask import Mask
from ssl_jax.models.rows import ACTIVATIONS, Dense, LayerNorm
from ssl_jax.models.text import mean_token
from ssl_jax.models.transformer import Style, Transformer

NORMS = ("none", "layer", "time")


class Frames(NamedTuple):
    """`states` [B, N, D] of the frames of a sequence, and which of them are `valid` [B, N]."""

    states: Array
    valid: Array


class TimeNorm(nn.Module):
    """Every channel of a sequence with mean 0 and deviation 1 over its valid frames, then a scale and an offset for each."""

    epsilon: float = 1e-5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, valid: Array) -> Array:
        """[B, N, D] -> [B, N, D]."""
        seen = valid[..., None].astype(wide(x.dtype))
        count = jnp.maximum(seen.sum(1, keepdims=True), 1)
        mean = (x * seen).sum(1, keepdims=True) / count
        variance = (jnp.square(x - mean) * seen).sum(1, keepdims=True) / count
        scale = self.param("scale", nn.initializers.ones_init(), x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:])
        return ((x - mean) * jax.lax.rsqrt(variance + self.epsilon) * scale + bias).astype(self.dtype)


class WaveConv(nn.Module):
    """Convolutions in time without padding: one of `widths[i]` channels for each of `kernels` and `strides`, norm, activation.

    `norm`: "none"; "layer", over the channels of each frame; or "time" (TimeNorm), after the first convolution only, as in
    wav2vec 2.0's base model: a frame then depends on all of its sequence.

    CPC (van den Oord et al. 2018, arXiv 1807.03748, section 3.1): five layers of 512, kernels 10, 8, 4, 4, 4, strides 5, 4, 2, 2,
    2, a frame each 10 ms of 16 kHz. wav2vec 2.0 (arXiv 2006.11477, section 4.2): seven of 512, kernels 10, 3, 3, 3, 3, 2, 2,
    strides 5, 2, 2, 2, 2, 2, 2, a frame each 20 ms.
    """

    widths: tuple[int, ...] = (512,) * 5
    kernels: tuple[int, ...] = (10, 8, 4, 4, 4)
    strides: tuple[int, ...] = (5, 4, 2, 2, 2)
    norm: str = "layer"  # none | layer | time
    bias: bool = True
    activation: str = "relu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not 0 < len(self.widths) == len(self.kernels) == len(self.strides):
            raise UserError(
                f"model.widths={self.widths}, kernels={self.kernels}, strides={self.strides}: give one of each for a layer"
            )
        for value, known, name in ((self.norm, NORMS, "norm"), (self.activation, ACTIVATIONS, "activation")):
            if value not in known:
                raise UserError(f"model.{name}={value!r} is unknown; use one of {', '.join(known)}")
        super().__post_init__()

    @property
    def width(self) -> int:
        """Of a frame."""
        return self.widths[-1]

    @property
    def local(self) -> bool:
        """Whether a frame depends on nothing but the samples under it."""
        return self.norm != "time"

    @property
    def reach(self) -> int:
        """How many samples a frame is made of."""
        return 1 + sum((k - 1) * math.prod(self.strides[:i]) for i, k in enumerate(self.kernels))

    def valid_frames(self, valid: Array) -> Array:
        """The valid frames [B, N] of sequences with these `valid` samples [B, T], or [B, T, C]."""
        if valid.shape[1] < self.reach:
            raise UserError(
                f"a sequence of {valid.shape[1]} samples is shorter than a frame, {self.reach}; use longer ones"
            )
        return valid_windows(_of_steps(valid), self.reach, math.prod(self.strides))

    @nn.compact
    def __call__(self, wave: Array, valid: Array) -> Frames:
        """Samples [B, T], or [B, T, C] -> frames."""
        x = shard_batch(wave if wave.ndim == 3 else wave[..., None]).astype(self.dtype)
        seen, last = _of_steps(valid), self.valid_frames(valid)
        for i, (width, kernel, stride) in enumerate(zip(self.widths, self.kernels, self.strides, strict=True)):
            conv = partial(nn.Conv, use_bias=self.bias, dtype=self.dtype, kernel_init=nn.initializers.he_normal())
            x = conv(width, (kernel,), stride, padding="VALID", name=f"conv{i}")(x)
            seen = valid_windows(seen, kernel, stride)
            x = ACTIVATIONS[self.activation](self._normed(i, x, seen))
        return Frames(shard_batch(x), last)

    def _normed(self, layer: int, x: Array, valid: Array) -> Array:
        if self.norm == "layer":
            return LayerNorm(1e-5, self.dtype, name=f"norm{layer}")(x)
        if self.norm == "time" and layer == 0:
            return TimeNorm(1e-5, self.dtype, name="norm0")(x, valid)
        return x


def valid_windows(valid: Array, size: int, stride: int) -> Array:
    """Windows of `size` samples, `stride` apart, in which all samples are `valid` [B, T] -> [B, (T - size) // stride + 1].

    >>> valid_windows(jnp.arange(6)[None] < 4, 2, 2).tolist()
    [[True, True, False]]
    """
    missing = jnp.cumsum(jnp.pad(~valid, ((0, 0), (1, 0))), axis=1)
    return (missing[:, size:] == missing[:, : valid.shape[1] + 1 - size])[:, ::stride]


def _of_steps(valid: Array) -> Array:
    return valid if valid.ndim == 2 else valid.any(axis=-1)


class ConvPositions(nn.Module):
    """Relative positions as wav2vec 2.0 has them: a wide grouped convolution over frames, its weights normed for each tap, GELU.

    Weight norm (Salimans, Kingma 2016, arXiv 1602.07868, eq. 2) over all weights of a tap.
    """

    kernel: int = 128
    groups: int = 16
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, N, D] -> [B, N, D], what is added."""
        width, inner = x.shape[-1], x.shape[-1] // self.groups
        std = math.sqrt(4 / (self.kernel * width))
        direction = self.param("direction", nn.initializers.normal(std), (self.kernel, inner, width))
        gain = self.param("gain", nn.initializers.constant(std * math.sqrt(width * inner)), (self.kernel, 1, 1))
        norm = jnp.sqrt(jnp.square(direction.astype(wide(x.dtype))).sum((1, 2), keepdims=True))
        bias = self.param("bias", nn.initializers.zeros_init(), (width,))
        kernel = (gain * direction / norm).astype(self.dtype)
        # One convolution for each group: of a grouped one the partitioner (jax 0.10.2) adds the kernel's gradient up over the
        # copies along an axis of the mesh that it is not split over, which makes it too large.
        groups = zip(*(jnp.split(x, self.groups, axis=-1) for x in (x.astype(self.dtype), kernel)), strict=True)
        found = jnp.concatenate([self._convolved(*pair) for pair in groups], axis=-1)
        return ACTIVATIONS["gelu"](found + bias.astype(found.dtype))

    def _convolved(self, x: Array, kernel: Array) -> Array:
        padding = [(self.kernel // 2, (self.kernel - 1) // 2)]
        return jax.lax.conv_general_dilated(x, kernel, (1,), padding, dimension_numbers=("NWC", "WIO", "NWC"))


class FrameTransformer(nn.Module):
    """A transformer over frames that may be hidden (Baevski et al. 2020, arXiv 2006.11477, section 2).

    `order="post"` is the base model of wav2vec 2.0, "pre" the large one. `kernel` is the width of the convolution that gives
    positions, in frames.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    order: str = "post"  # pre | post
    kernel: int = 128
    groups: int = 16
    dropout: float = 0.0  # of what enters the stack and of branches
    attention_dropout: float = 0.0
    norm_epsilon: float = 1e-5
    dtype: str = "float32"
    remat: str = "full"
    unroll: int = 1
    attention: str = "xla"
    initial_std: float = 0.02

    causal, hides = False, True

    def setup(self) -> None:
        """The norm and the projection of frames, the mask, positions, and the stack."""
        if self.width % self.groups:
            raise UserError(f"model.width={self.width} is not divisible by groups={self.groups} of the positions")
        init = nn.initializers.normal(self.initial_std)
        self.frame_norm = LayerNorm(self.norm_epsilon, self.dtype)
        self.project = Dense(self.width, dtype=self.dtype, kernel_init=init)
        self.mask_token = self.param("mask_token", nn.initializers.uniform(1.0), (self.width,))
        self.positions = ConvPositions(self.kernel, self.groups, self.dtype)
        if self.order == "post":
            self.entry_norm = LayerNorm(self.norm_epsilon, self.dtype)
        self.transformer = Transformer(
            self.depth,
            self.heads,
            self.mlp_dim,
            self.dtype,
            self.remat,
            self.unroll,
            self.attention,
            init,
            norm_epsilon=self.norm_epsilon,
            style=Style(order=self.order, final_norm=self.order == "pre"),
            dropout=Dropout(self.dropout, self.attention_dropout, 0.0, self.dropout),
        )

    def normed(self, frames: Array) -> Array:
        """What is projected, and what codebooks are given, [B, N, C]."""
        return self.frame_norm(frames)

    def __call__(self, frames: Frames, hidden: Array | None = None, train: bool = False) -> Array:
        """States [B, N, D] of frames [B, N, C], of which those that are `hidden` [B, N] read as one learned vector."""
        return self.transformer(self._entered(frames, hidden), Mask(frames.valid), train=train)

    def layers(self, frames: Frames, last: int) -> list[Layer]:
        """The states after each of the `last` blocks."""
        x = self._entered(frames, None)
        _, states = self.transformer.outputs(x, Mask(frames.valid), last=min(last, self.depth))
        return [Layer(x, valid=frames.valid) for x in (() if states is None else states)]

    def _entered(self, frames: Frames, hidden: Array | None) -> Array:
        x = self.project(self.normed(frames.states))
        if hidden is not None:
            x = jnp.where(hidden[..., None], self.mask_token.astype(x.dtype), x)
        x = jnp.where(frames.valid[..., None], x, 0)
        x = shard_batch(x + self.positions(x))
        return self.entry_norm(x) if self.order == "post" else x


def moments(states: Array, valid: Array) -> Array:
    """States [B, N, D] -> mean and standard deviation [B, 2 D] over those that are `valid` [B, N]."""
    mean = mean_token(states, valid)
    variance = mean_token(jnp.square(states - mean[:, None]), valid)
    return jnp.concatenate([mean, jnp.sqrt(variance + 1e-8)], axis=-1)


def stretches(states: Array, valid: Array, count: int = 8) -> Array:
    """States [B, N, D] -> means [B, count D] of those that are `valid` [B, N] in each of `count` stretches of time."""
    parts = zip(jnp.array_split(states, count, axis=1), jnp.array_split(valid, count, axis=1), strict=True)
    return jnp.concatenate([mean_token(*part) for part in parts], axis=-1)


READERS = {"mean": mean_token, "moments": moments, "stretches": stretches}


class SequenceEncoder(nn.Module):
    """What makes frames of a sequence (`front`), and what tells each frame by its neighbours (`context`).

    A front is called with the arrays of a sequence and gives `Frames`; it has `width`, `local` and `valid_frames`. A context is
    called with `Frames` and gives states [B, N, D]; it has `causal` (a state depends on no later frame), `hides` (frames can be
    hidden from it) and `layers`.

    Features are of the `layer` that is counted from the last, -1, backwards: what predicts need not keep what a sound is.
    """

    front: nn.Module
    context: nn.Module
    pool: str = "mean"  # mean | moments | stretches
    layer: int = -1

    def __post_init__(self) -> None:
        if self.pool not in READERS:
            raise UserError(f"model.pool={self.pool!r} is unknown; use one of {', '.join(READERS)}")
        if self.layer >= 0:
            raise UserError(f"model.layer={self.layer}: layers count from the last, -1, backwards")
        super().__post_init__()

    @property
    def dtype(self) -> str:
        """What both compute in."""
        return self.context.dtype

    @property
    def causal(self) -> bool:
        """Whether a state depends on nothing later than its frame."""
        return bool(self.front.local and self.context.causal)

    @property
    def smallest(self) -> tuple[Any, ...]:
        """Shapes of the shortest wave that makes a frame."""
        shape = (1, self.front.reach)
        return jax.ShapeDtypeStruct(shape, "float32"), jax.ShapeDtypeStruct(shape, "bool")

    @property
    def hides(self) -> bool:
        """Whether some frames can be hidden from the context."""
        return bool(self.context.hides)

    def __call__(self, wave: Array, valid: Array, train: bool = False) -> Array:
        """States [B, N, D]."""
        return self.context(self.front(wave, valid), train=train)

    def frames(self, wave: Array, valid: Array) -> Frames:
        """What the front makes of a sequence."""
        return self.front(wave, valid)

    def states(self, frames: Frames, hidden: Array | None = None, train: bool = False) -> Array:
        """What the context makes of frames; `hidden` [B, N] is for contexts that can hide some."""
        return self.context(frames, train=train) if hidden is None else self.context(frames, hidden, train)

    def normed(self, frames: Array) -> Array:
        """Frames [B, N, C] as the context is given them."""
        return self.context.normed(frames)

    def told(self, wave: Array, valid: Array, train: bool = False) -> Frames:
        """States, and which of them are valid: what a head on every frame is given."""
        frames = self.front(wave, valid)
        return Frames(self.context(frames, train=train), frames.valid)

    def features(self, wave: Array, valid: Array, train: bool = False) -> Array:
        """The mean [B, D] of the valid states; for `pool="moments"` also their deviation, [B, 2 D], for "stretches" the means of
        eighths of the sequence, [B, 8 D].
        """
        return READERS[self.pool](*(self.told(wave, valid, train) if self.layer == -1 else self._inner(wave, valid)))

    def _inner(self, wave: Array, valid: Array) -> Frames:
        found = self.layers(wave, valid, -self.layer)
        if len(found) < -self.layer:
            raise UserError(
                f"model.layer={self.layer}: this encoder has {len(found)}, the first of which is what its front makes"
            )
        return Frames(found[0].tokens, cast(Array, found[0].valid))  # which sequences have

    def layers(self, wave: Array, valid: Array, last: int) -> list[Layer]:
        """The `last` of: the frames, and the states after each layer of the context."""
        frames = self.front(wave, valid)
        inner = self.context.layers(frames, last)
        return [Layer(frames.states, valid=frames.valid), *inner][-last:]
