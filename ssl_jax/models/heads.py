"""Heads on top of encoders: projections, prototypes, the MAE decoder and the I-JEPA predictor."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.models.attention import Rope
from ssl_jax.models.grid import TABLES, Grid, rope, sincos, take_tokens, windows
from ssl_jax.models.grid import places as patch_places
from ssl_jax.models.mask import NO_MASK, Mask
from ssl_jax.models.norm import Norm
from ssl_jax.models.rows import Dense, gelu
from ssl_jax.models.transformer import Transformer

# How Dense layers start. torch's has uniform numbers within 1/sqrt(inputs), which is He's uniform one with a slope of sqrt(5).
INITIALIZERS = {
    "he_normal": nn.initializers.he_normal(),
    "lecun_normal": nn.initializers.lecun_normal(),
    "torch": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
    "xavier_uniform": nn.initializers.xavier_uniform(),
}
NEVER = -1e5  # a logit beside which 0 is certain


class ProjectionHead(nn.Module):
    """MLP: (Dense, norm, ReLU) per entry of `hidden`, then Dense to `out`.

    `bias` and `out_bias` are those of the hidden and the last Dense layers; None means where no norm follows. `final_norm`
    adds a norm at the end that has no offset, and no scale either with `final_scale=False`: SimCLR's last norm has a scale,
    those of SimSiam and MoCo v3 have no parameters. There is none where `norm="none"`. `initializer` says how kernels start;
    with "torch" biases do too, as in `torch.nn.Linear`, else they are 0.
    """

    hidden: tuple[int, ...] = (2048,)
    out: int = 128
    norm: str = "batch"  # batch | group | none
    final_norm: bool = False
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer | None = None
    bias: bool | None = None
    out_bias: bool | None = None
    final_scale: bool = True
    initializer: str = "he_normal"  # of INITIALIZERS; `kernel_init` wins

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        """Features [..., F] -> projections [..., out]."""
        x = x.astype(self.dtype)
        final = self.final_norm and self.norm != "none"
        bias = self.norm == "none" if self.bias is None else self.bias
        out_bias = not final if self.out_bias is None else self.out_bias
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=self._kernel_init())
        for i, width in enumerate(self.hidden):
            x = dense(width, use_bias=bias, bias_init=self._bias_init(x), name=f"dense{i}")(x)
            x = nn.relu(Norm(self.norm, self.dtype, name=f"norm{i}")(x, train))
        x = dense(self.out, use_bias=out_bias, bias_init=self._bias_init(x), name="dense_out")(x)
        norm = Norm(self.norm, self.dtype, use_scale=self.final_scale, use_bias=False, name="norm_out")
        return norm(x, train) if final else x

    def _kernel_init(self) -> nn.initializers.Initializer:
        if self.initializer not in INITIALIZERS:
            raise UserError(f"initializer={self.initializer!r} is unknown; use one of {', '.join(INITIALIZERS)}")
        return self.kernel_init or INITIALIZERS[self.initializer]

    def _bias_init(self, x: Array) -> nn.initializers.Initializer:
        """That of a layer on x [..., F]: zeros, or torch's uniform numbers within 1/sqrt(F)."""
        return symmetric(x.shape[-1] ** -0.5) if self.initializer == "torch" else nn.initializers.zeros_init()


def symmetric(bound: float) -> nn.initializers.Initializer:
    """Uniform numbers within `bound` of 0."""
    return lambda key, shape, dtype=jnp.float32, out_sharding=None: jax.random.uniform(key, shape, dtype, -bound, bound)


class FeatureHead(nn.Module):
    """MLP without norms: (Dense, GELU) per entry of `hidden`, then Dense to `out`; () is one layer."""

    hidden: tuple[int, ...] = ()
    out: int = 768
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., F] -> [..., out]."""
        dense = partial(Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        for i, width in enumerate(self.hidden):
            x = gelu(dense(width, name=f"dense{i}")(x))
        return dense(self.out, name="dense_out")(x)


class Prototypes(nn.Module):
    """Scores against `count` prototypes: a linear layer without bias whose rows have unit length (SwAV).

    The rows are divided by their norm in every forward pass, without gradient through the norm.
    """

    count: int
    kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Unit vectors z [..., D] -> cosines [..., count], in float32 or wider."""
        kernel = self.param("kernel", self.kernel_init, (z.shape[-1], self.count))
        return z @ unit_columns(kernel).astype(z.dtype)


def unit_columns(kernel: Array) -> Array:
    """A kernel [D, K] divided by the norms of its columns, without gradient through these."""
    norm = jax.lax.stop_gradient(jnp.linalg.norm(kernel, axis=0, keepdims=True))
    return kernel / jnp.maximum(norm, 1e-12)


class SymbolHead(nn.Module):
    """A linear layer on every frame, for symbols of which the first is CTC's blank; frames that are not valid say it surely."""

    out: int
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, states: Array, valid: Array) -> Array:
        """States [B, N, D], and which are valid [B, N] -> logits [B, N, out]."""
        logits = Dense(self.out, dtype=self.dtype, kernel_init=self.kernel_init, name="dense_out")(states)
        surely = jnp.where(jnp.arange(self.out) == 0, 0.0, NEVER).astype(logits.dtype)
        return jnp.where(valid[..., None], logits, surely)


class StepPredictor(nn.Module):
    """What is expected 1 to `steps` steps later: a matrix for each (CPC's W_k).

    They start so small that products of the predictions with numbers of size 1 are about 1.
    """

    steps: int
    out: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, contexts: Array) -> Array:
        """States [B, N, C] -> predictions [steps, B, N, out]."""
        init = nn.initializers.variance_scaling(1 / self.out, "fan_in", "normal", in_axis=1, out_axis=2, batch_axis=0)
        kernel = self.param("kernel", init, (self.steps, contexts.shape[-1], self.out)).astype(self.dtype)
        return jnp.einsum("bnc,kcd->kbnd", contexts.astype(self.dtype), kernel)


class MaskedDecoder(nn.Module):
    """MAE's decoder: mask tokens fill the dropped places, and a small transformer predicts every patch.

    `out` is the length of a patch vector. `positions` names a fixed table; the class token's code is zero.

    With a `window` of patches along each axis, tokens attend within it alone, and every other block has its borders `shift`
    patches earlier (AudioMAE); prefix tokens lie in no window and are dropped before.
    """

    out: int
    prefix: int = 1
    width: int = 512
    depth: int = 8
    heads: int = 16
    mlp_dim: int = 2048
    dtype: str = "float32"
    remat: str = "full"
    unroll: int = 1
    attention: str = "xla"
    positions: str = "sincos"  # sincos | sequence
    window: tuple[int, ...] = ()
    shift: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, tokens: Array, restore: Array, grid: Grid) -> Array:
        """Encoder tokens [B, P + K, D] and `restore` [B, N], the argsort of the shuffle -> predictions [B, N, out].

        The P prefix tokens (class, registers) take part and are dropped at the end. UserError for a window of other axes.
        """
        batch, count = restore.shape
        dense = partial(Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        prefix, kept = jnp.split(dense(self.width, name="embed")(tokens), [self.prefix], axis=1)
        mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, self.width)).astype(kept.dtype)
        masked = jnp.broadcast_to(mask_token, (batch, count - kept.shape[1], self.width))
        x = take_tokens(jnp.concatenate([kept, masked], axis=1), restore)
        x = x + jnp.asarray(TABLES[self.positions](self.width, grid), x.dtype)
        x = x if self.window else jnp.concatenate([prefix, x], axis=1)
        sizes = (self.depth, self.heads, self.mlp_dim)
        stack = Transformer(*sizes, self.dtype, self.remat, self.unroll, self.attention, name="transformer")
        x = stack(x, self._within(grid, batch) if self.window else NO_MASK)
        return dense(self.out, name="pred")(x[:, -count:])

    def _within(self, grid: Grid, batch: int) -> Mask:
        """For each block the windows of all patches, as documents of their own."""
        still = (0,) * len(grid)
        shift = self.shift or still
        if not len(self.window) == len(shift) == len(grid):
            raise UserError(
                f"a decoder's window={self.window} and shift={shift} have to have the {len(grid)} axes of the patches {grid}"
            )
        blocks = np.stack([windows(grid, self.window, (still, shift)[i % 2]) for i in range(self.depth)])
        return Mask(segments=jnp.broadcast_to(blocks[:, None], (self.depth, batch, blocks.shape[1])))


class BlockPredictor(nn.Module):
    """I-JEPA's and V-JEPA's predictor: context tokens and mask tokens at hidden places, through a narrow transformer.

    Context tokens attend to the mask tokens of a block too, so every block is a forward pass of its own. `positions` are the
    fixed table, or `"rope"`: queries and keys are turned by their index on the grid, as in V-JEPA 2, `rope_tiled` as in
    `ViT`. `mask_tokens` > 1 has a mask token for each setting of masks, which start at `mask_init`.
    """

    out: int  # width of the encoder
    width: int = 384
    depth: int = 6
    heads: int = 12
    mlp_dim: int = 1536
    dtype: str = "float32"
    remat: str = "full"
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)
    mask_init: nn.initializers.Initializer = nn.initializers.normal(0.02)
    mask_tokens: int = 1
    positions: str = "sincos"  # sincos | rope
    rope_base: float = 10000.0
    rope_tiled: bool = False
    unroll: int = 1
    attention: str = "xla"

    @nn.compact
    def __call__(
        self,
        context: Array,
        context_index: Array,
        context_valid: Array,
        index: Array,
        valid: Array,
        grid: Grid,
        setting: int = 0,
    ) -> Array:
        """Predictions [B, M, T, out].

        Args:
            context: [B, K, D] encoder tokens at the patches `context_index` [B, K]; `context_valid` [B, K] marks padding.
            index: [B, M, T] patches of the M target blocks; `valid` [B, M, T] marks padding.
            grid: patches along each axis.
            setting: which mask token stands at hidden places.
        """
        batch, blocks, size = index.shape
        dense = partial(Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        rows = (batch, blocks, context.shape[1])
        z = self._placed(dense(self.width, name="embed")(context), context_index, grid)
        hidden = self._placed(self._mask_token(setting), index, grid)
        x = jnp.concatenate([jnp.broadcast_to(z[:, None], (*rows, self.width)), hidden], axis=2)
        seen = jnp.concatenate([jnp.broadcast_to(context_valid[:, None], rows), valid], axis=2)
        places = jnp.concatenate([jnp.broadcast_to(context_index[:, None], rows), index], axis=2)
        x, seen, places = (a.reshape(batch * blocks, *a.shape[2:]) for a in (x, seen, places))
        x = Transformer(
            self.depth, self.heads, self.mlp_dim, self.dtype, self.remat, self.unroll, self.attention, self.kernel_init,
            name="transformer",
        )(x, Mask(seen), rope=self._rotation(places, grid))  # fmt: skip
        x = dense(self.out, name="pred")(x[:, -size:])
        return x.reshape(batch, blocks, size, self.out)

    def _mask_token(self, setting: int) -> Array:
        """Number `setting` of the mask tokens, [width]."""
        shape = (self.width,) if self.mask_tokens == 1 else (self.mask_tokens, self.width)
        token: Array = self.param("mask_token", self.mask_init, shape).astype(self.dtype)
        return token.reshape(-1, self.width)[setting]

    def _placed(self, x: Array, index: Array, grid: Grid) -> Array:
        """`x`, with the codes of the patches `index` [..., N] where these are added: [..., N, width]."""
        if self.positions == "rope":
            return jnp.broadcast_to(x, (*index.shape, self.width))
        return x + jnp.asarray(sincos(self.width, grid), self.dtype)[index]

    def _rotation(self, index: Array, grid: Grid) -> Rope:
        """(cos, sin) [R, S, head width] of the patches `index` [R, S]; None where a table was added."""
        if self.positions != "rope":
            return None
        cos, sin = rope(self.width // self.heads, patch_places(grid), self.rope_base, tiled=self.rope_tiled)
        return ((cos[index], sin[index]),)
