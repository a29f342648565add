"""Self-attention within the sequences of packed tokens, and rotary positions."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.devices.compiler import cuda_plugin_installed, target_platform
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.models.drop_path import Sections, split_sections
from ssl_jax.models.rows import add_to_rows, as_matrix, dot_rows

Attention = Callable[[Array, Array, Array, Array | None], Array]
Rope = tuple[tuple[Array, Array], ...] | None  # (cos, sin) [tokens, head width] of each section


def attend(query: Array, key: Array, value: Array, valid: Array | None = None) -> Array:
    """Softmax attention [B, N, H, d]; keys where `valid` [B, N] is False are ignored. The softmax is float32 or wider."""
    scale = query.shape[-1] ** -0.5
    logits = jnp.einsum("bqhd,bkhd->bhqk", query * scale, key, preferred_element_type=wide(query.dtype))
    if valid is not None:
        logits = jnp.where(valid[:, None, None, :], logits, jnp.finfo(logits.dtype).min)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(logits).astype(value.dtype), value)


def attend_cudnn(query: Array, key: Array, value: Array, valid: Array | None = None) -> Array:
    """The same on NVIDIA GPUs through cuDNN's fused kernel, in bfloat16 or float16; UserError for anything else."""
    if target_platform() != "gpu" or not cuda_plugin_installed():
        plugin = "installed" if cuda_plugin_installed() else "not installed"
        raise UserError(
            f"model.attention='cudnn' needs an NVIDIA GPU and ssl_jax[cuda]; this program is for {target_platform()!r}, "
            f"and jax's CUDA plugin is {plugin}; use model.attention=xla, or a machine with both"
        )
    if query.dtype not in (jnp.bfloat16, jnp.float16):
        raise UserError(
            f"model.attention='cudnn' computes in bfloat16 or float16, not {query.dtype}; "
            "set model.dtype=bfloat16, or model.attention=xla"
        )
    mask = (
        None
        if valid is None
        else jnp.broadcast_to(valid[:, None, None, :], (*valid.shape[:1], 1, query.shape[1], valid.shape[1]))
    )
    return jax.nn.dot_product_attention(query, key, value, mask=mask, implementation="cudnn")


ATTENTION = {"xla": attend, "cudnn": attend_cudnn}


def rotate(x: Array, table: tuple[Array, Array]) -> Array:
    """Rotary positions: `x cos + rotate_half(x) sin` (Su et al. 2021, arXiv 2104.09864), in float32 or wider.

    `x` [..., N, H, d]; `table` is (cos, sin), each [N, d] or, where sequences differ, [..., N, d].
    The first half of d pairs with the second.
    """
    kind = wide(x.dtype)
    cos, sin = (t[..., None, :].astype(kind) for t in table)
    first, second = jnp.split(x.astype(kind), 2, axis=-1)
    return (x * cos + jnp.concatenate([-second, first], axis=-1) * sin).astype(x.dtype)


def attend_sections(attend: Attention, qkv: Array, sections: Sections, valid: Array | None, rope: Rope) -> Array:
    """Self-attention within each sequence of packed `qkv` [G, S, 3, H, d] -> [G, S, H, d]."""
    out = []
    for i, (part, section) in enumerate(zip(split_sections(qkv, sections), sections, strict=True)):
        rows = part.reshape(-1, section.tokens, *part.shape[2:])
        query, key, value = rows[:, :, 0], rows[:, :, 1], rows[:, :, 2]
        if rope is not None:
            query, key = rotate(query, rope[i]), rotate(key, rope[i])
        out.append(attend(query, key, value, valid).reshape(*part.shape[:2], *part.shape[3:]))
    return jnp.concatenate(out, axis=1)


class Qkv(nn.Module):
    """The projection to queries, keys and values; `bias`: all | query_value (none for the keys) | none."""

    heads: int
    bias: str
    dtype: str
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., D] -> [..., 3, H, d]."""
        shape = (3, self.heads, x.shape[-1] // self.heads)
        kernel = self.param("kernel", as_matrix(self.kernel_init), (x.shape[-1],), shape)
        rows = dot_rows(x.astype(self.dtype).reshape(-1, x.shape[-1]), kernel.astype(self.dtype))
        if self.bias != "none":
            biased = np.array([0, 1, 2] if self.bias == "all" else [0, 2])
            bias = self.param("bias", nn.initializers.zeros_init(), (len(biased), *shape[1:])).astype(self.dtype)
            rows = add_to_rows(rows, bias if self.bias == "all" else jnp.zeros(shape, bias.dtype).at[biased].set(bias))
        return rows.reshape(*x.shape[:-1], *shape)
