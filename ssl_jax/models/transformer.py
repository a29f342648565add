"""Pre-norm transformer blocks, stacked with a scan over layers.

Sequences of several lengths go through together (`drop_path.Section`): what works on single tokens sees all of them in one
array, attention is one call for each length. There is no padding and no mask.

Every parameter of the stack has a leading layer axis, so compile time does not grow with depth. What is per layer
elsewhere (trust ratios, layer decay, weight conversion) must respect that axis; it lives under the name `blocks`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from ssl_jax.devices.mesh import HOST, STACK, shard_batch
from ssl_jax.errors import UserError
from ssl_jax.models.attention import ATTENTION, Qkv, Rope, attend_sections
from ssl_jax.models.drop_path import (
    Branch,
    DropPath,
    Section,
    Sections,
    dropped_sequences,
    residual,
    subset_of_sequences,
)
from ssl_jax.models.rows import Dense, LayerNorm, gelu

NOISE = "noise"  # the stream of randomness that training draws from


LAYER_INPUT = "layer_input"
# What the backward pass of a layer keeps. `full` keeps the layer's input only and recomputes the rest; `offload` also, in the
# host's memory.
REMAT_POLICIES = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[], names_which_can_be_offloaded=[LAYER_INPUT], offload_src="device", offload_dst=HOST
    ),
}


class Block(nn.Module):
    """LayerNorm, self-attention, LayerNorm, MLP, each branch with a residual (Dosovitskiy et al. 2020, eq. 2-3).

    `layer_scale` multiplies each branch by a learned vector that starts there (Touvron et al. 2021, arXiv 2103.17239, eq. 4).
    `mlp="swiglu"` is `silu(x W_0) * (x W_1)` of width `mlp_dim` (Shazeer 2020, arXiv 2002.05202, eq. 6). `qkv_bias` may
    leave out the keys' bias ("query_value", as DINOv3 does: with rotary positions it is not redundant) or all of it ("none").
    """

    heads: int
    mlp_dim: int
    dtype: str = "float32"
    attention: str = "xla"
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    mlp: str = "gelu"
    layer_scale: float | None = None
    qkv_bias: str = "all"
    norm_epsilon: float = 1e-6
    sections: Sections = ()
    drop: DropPath | None = None

    @nn.compact
    def __call__(self, x: Array, rate: Array, valid: Array | None, rope: Rope) -> tuple[Array, None]:
        """Packed tokens [B, S, D] -> packed tokens; the second value is what a scan collects (nothing).

        `rate` is this layer's probability to drop a branch, `valid` marks the keys that may be attended to, and `rope`
        holds the rotation (cos, sin) of each section, or None.
        """
        width = x.shape[-1]
        dense = {"dtype": self.dtype, "kernel_init": self.kernel_init}

        def scaled(name: str, h: Array) -> Array:
            if self.layer_scale is None:
                return h
            return h * self.param(name, nn.initializers.constant(self.layer_scale), (width,)).astype(h.dtype)

        def attention(h: Array, sections: Sections) -> Array:
            h = LayerNorm(self.norm_epsilon, self.dtype, name="norm1")(h)
            qkv = Qkv(self.heads, self.qkv_bias, name="qkv", **dense)(h)
            h = attend_sections(ATTENTION[self.attention], qkv, sections, valid, rope)
            return scaled("layer_scale1", Dense(width, axes=2, name="proj", **dense)(h))

        def mlp(h: Array, sections: Sections) -> Array:
            h = LayerNorm(self.norm_epsilon, self.dtype, name="norm2")(h)
            if self.mlp == "swiglu":
                h = Dense((2, self.mlp_dim), name="fc1", **dense)(h)
                h = nn.silu(h[..., 0, :]) * h[..., 1, :]
            else:
                h = gelu(Dense(self.mlp_dim, name="fc1", **dense)(h))
            return scaled("layer_scale2", Dense(width, name="fc2", **dense)(h))

        x = checkpoint_name(shard_batch(x), LAYER_INPUT)
        for branch in (attention, mlp):
            x = self._residual(branch, x, rate)
        return x, None

    def _residual(self, branch: Branch, x: Array, rate: Array) -> Array:
        if self.drop is None:
            return residual(branch, x, self.sections)
        key = self.make_rng(NOISE)
        if self.drop.mode == "linear":
            return dropped_sequences(key, branch, x, self.sections, rate)
        return subset_of_sequences(key, branch, x, self.sections, self.drop)


class Transformer(nn.Module):
    """`depth` blocks and a final LayerNorm.

    `local_prefix` leading tokens of every sequence outside the first section have a final LayerNorm of their own (DINOv3).
    """

    depth: int
    heads: int
    mlp_dim: int
    dtype: str = "float32"
    remat: str = "full"  # none | dots | full | offload
    unroll: int = 1  # layers per scan iteration; `depth` unrolls the loop without changing the parameters
    attention: str = "xla"  # xla | cudnn
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    mlp: str = "gelu"  # gelu | swiglu
    layer_scale: float | None = None
    qkv_bias: str = "all"  # all | query_value | none
    norm_epsilon: float = 1e-6
    drop: DropPath | None = None
    local_prefix: int = 0

    @nn.compact
    def __call__(
        self,
        x: Array,
        valid: Array | None = None,
        sections: Sections = (),
        rope: Rope = None,
        train: bool = False,
    ) -> Array:
        """Packed tokens [B, S, D] -> packed tokens.

        Args:
            x: tokens; where `sections` is left out, one sequence for each example.
            valid: [B, S] the tokens that may be attended to; for one section of one sequence.
            sections: the sequences of which each row of `x` is made.
            rope: (cos, sin) [tokens, head width] for each section, or None.
            train: drop residual branches, with randomness from the stream `noise`.
        """
        self._check(x.shape[-1])
        sections = sections or (Section(1, x.shape[1]),)
        drop = self.drop if train and self.drop is not None and self.drop.rate > 0 else None
        policy = REMAT_POLICIES[self.remat]
        block = Block if self.remat == "none" else nn.remat(Block, policy=policy, prevent_cse=False)
        stack = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True, NOISE: True},
            in_axes=(0, nn.broadcast, nn.broadcast),
            length=self.depth,
            unroll=self.unroll,
        )
        blocks = stack(
            self.heads, self.mlp_dim, self.dtype, self.attention, self.kernel_init, self.mlp, self.layer_scale,
            self.qkv_bias, self.norm_epsilon, sections, drop, name=STACK,
        )  # fmt: skip
        x, _ = blocks(x, (drop or DropPath(0.0)).rates(self.depth), valid, rope)
        normed = LayerNorm(self.norm_epsilon, self.dtype, name="norm")(x)
        if self.local_prefix and len(sections) > 1:
            local = [np.tile(np.arange(s.tokens) < self.local_prefix * (i > 0), s.rows) for i, s in enumerate(sections)]
            normed_local = LayerNorm(self.norm_epsilon, self.dtype, name="norm_local")(x)
            normed = jnp.where(np.concatenate(local)[:, None], normed_local, normed)
        return normed

    def _check(self, width: int) -> None:
        if width % self.heads:
            raise UserError(f"width {width} is not divisible by heads={self.heads}")
        for value, known, name in (
            (self.remat, REMAT_POLICIES, "remat"),
            (self.attention, ATTENTION, "attention"),
            (self.mlp, ("gelu", "swiglu"), "mlp"),
            (self.qkv_bias, ("all", "query_value", "none"), "qkv_bias"),
        ):
            if value not in known:
                raise UserError(f"{name}={value!r} is unknown; use one of {', '.join(known)}")


def rescale_residuals(params: dict) -> dict:
    """Divide `proj` and `fc2` of layer l (from 1) by sqrt(2 l): the initialisation of BEiT, I-JEPA and V-JEPA.

    `params` is any tree of dicts that holds one or more stacks named `blocks`.
    """

    def rescale(path: tuple, leaf: Array) -> Array:
        names = [getattr(k, "key", "") for k in path]
        if STACK not in names or names[-1] != "kernel" or names[-2] not in ("proj", "fc2"):
            return leaf
        layer = jnp.arange(1, leaf.shape[0] + 1, dtype=leaf.dtype)
        return leaf / jnp.sqrt(2.0 * layer).reshape(-1, *[1] * (leaf.ndim - 1))

    return jax.tree_util.tree_map_with_path(rescale, params)
