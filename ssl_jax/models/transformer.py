"""Pre-norm transformer blocks, stacked with a scan over layers.

Every parameter of the stack has a leading layer axis, so compile time does not grow with depth. What is per layer
elsewhere (trust ratios, layer decay, weight conversion) must respect that axis; it lives under the name `blocks`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.mesh import STACK, shard_batch
from ssl_jax.precision import wide

LAYER_NORM_EPSILON = 1e-6

# What the backward pass of a layer keeps. `full` keeps the layer's input only and recomputes the rest.
REMAT_POLICIES = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


def layer_norm(name: str, dtype: Any) -> nn.LayerNorm:
    """LayerNorm with float32 statistics, epsilon 1e-6 and an exact (two-pass) variance."""
    return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, dtype=dtype, use_fast_variance=False, name=name)


def attend(query: Array, key: Array, value: Array, valid: Array | None = None) -> Array:
    """Softmax attention [B, N, H, d]; keys where `valid` [B, N] is False are ignored. The softmax is float32 or wider."""
    scale = query.shape[-1] ** -0.5
    logits = jnp.einsum("bqhd,bkhd->bhqk", query * scale, key, preferred_element_type=wide(query.dtype))
    if valid is not None:
        logits = jnp.where(valid[:, None, None, :], logits, jnp.finfo(logits.dtype).min)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(logits).astype(value.dtype), value)


def attend_cudnn(query: Array, key: Array, value: Array, valid: Array | None = None) -> Array:
    """The same on NVIDIA GPUs through cuDNN's fused kernel, in bfloat16 or float16."""
    mask = (
        None
        if valid is None
        else jnp.broadcast_to(valid[:, None, None, :], (*valid.shape[:1], 1, query.shape[1], valid.shape[1]))
    )
    return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="cudnn")


ATTENTION = {"xla": attend, "cudnn": attend_cudnn}


class Block(nn.Module):
    """LayerNorm, self-attention, LayerNorm, GELU MLP, each with a residual (Dosovitskiy et al. 2020, eq. 2-3)."""

    heads: int
    mlp_dim: int
    dtype: str = "float32"
    attention: str = "xla"
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: Array, valid: Array | None) -> tuple[Array, None]:
        """Tokens [B, N, D] -> tokens [B, N, D]; the second value is what a scan collects (nothing)."""
        width = x.shape[-1]
        dense = {"dtype": self.dtype, "kernel_init": self.kernel_init}
        x = shard_batch(x)

        h = layer_norm("norm1", self.dtype)(x)
        qkv = nn.DenseGeneral((3, self.heads, width // self.heads), name="qkv", **dense)(h)
        h = ATTENTION[self.attention](qkv[..., 0, :, :], qkv[..., 1, :, :], qkv[..., 2, :, :], valid)
        x = x + nn.DenseGeneral(width, axis=(-2, -1), name="proj", **dense)(h)

        h = layer_norm("norm2", self.dtype)(x)
        h = nn.gelu(nn.Dense(self.mlp_dim, name="fc1", **dense)(h), approximate=False)
        x = x + nn.Dense(width, name="fc2", **dense)(h)
        return x, None


class Transformer(nn.Module):
    """`depth` blocks and a final LayerNorm."""

    depth: int
    heads: int
    mlp_dim: int
    dtype: str = "float32"
    remat: str = "full"  # none | dots | full
    unroll: int = 1  # layers per scan iteration; `depth` unrolls the loop without changing the parameters
    attention: str = "xla"  # xla | cudnn
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: Array, valid: Array | None = None) -> Array:
        """Tokens [B, N, D] -> tokens [B, N, D]; `valid` [B, N] marks the tokens that may be attended to."""
        if x.shape[-1] % self.heads:
            raise UserError(f"width {x.shape[-1]} is not divisible by heads={self.heads}")
        for value, known, name in ((self.remat, REMAT_POLICIES, "remat"), (self.attention, ATTENTION, "attention")):
            if value not in known:
                raise UserError(f"{name}={value!r} is unknown; use one of {', '.join(known)}")
        policy = REMAT_POLICIES[self.remat]
        block = Block if self.remat == "none" else nn.remat(Block, policy=policy, prevent_cse=False)
        stack = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.depth,
            unroll=self.unroll,
        )
        blocks = stack(self.heads, self.mlp_dim, self.dtype, self.attention, self.kernel_init, name=STACK)
        x, _ = blocks(x, valid)
        return layer_norm("norm", self.dtype)(x)


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
