"""Softmax attention in its plain and fused forms, within the sequences of packed tokens, and rotary positions.

Every form takes the same arguments (`Attention`): a mask, a bias, fewer heads of keys and values than of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from ssl_jax.devices.compiler import cuda_plugin_installed, cudnn_installed, target_platform, tpu_compiler_installed
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.models.drop_path import Sections, split_sections
from ssl_jax.models.mask import NO_MASK, Mask, allowed, zero_where_nothing
from ssl_jax.models.rows import add_to_rows, as_matrix, dot_rows
from ssl_jax.models.splash import attend_splash

Drop = Callable[[Array], Array]
Rope = tuple[tuple[Array, Array], ...] | None  # (cos, sin) [tokens, head width], or one for each row, of each section


class Attention(Protocol):
    """Softmax attention of queries [B, Q, H, d] to keys and values [B, K, H, d], or of fewer heads: K heads of H / K each."""

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        mask: Mask = ...,
        bias: Array | None = ...,
        scale: float | None = ...,
        drop: Drop | None = ...,
    ) -> Array:
        """[B, Q, H, d], zeros for a query that may attend to nothing.

        Args:
            query, key, value: head j of the keys serves the queries' heads j H / K to (j + 1) H / K - 1.
            mask: who may attend to whom.
            bias: added to the logits; [H, Q, K] or [B, H, Q, K], each axis but the last two possibly 1.
            scale: what logits are multiplied by; 1 / sqrt(d) where it is left out.
            drop: what is done to the weights (dropout).
        """
        ...


def attend(
    query: Array,
    key: Array,
    value: Array,
    mask: Mask = NO_MASK,
    bias: Array | None = None,
    scale: float | None = None,
    drop: Drop | None = None,
) -> Array:
    """The plain form of `Attention`. The softmax is float32 or wider."""
    key, value = for_heads_of(query, key), for_heads_of(query, value)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = jnp.einsum("bqhd,bkhd->bhqk", query * scale, key, preferred_element_type=wide(query.dtype))
    if bias is not None:
        logits = logits + bias
    seen = allowed(mask, query.shape[1], key.shape[1])
    if seen is not None:
        logits = jnp.where(seen, logits, jnp.finfo(logits.dtype).min)
    weights = jax.nn.softmax(logits).astype(value.dtype)
    if drop is not None:
        weights = drop(weights)
    return zero_where_nothing(jnp.einsum("bhqk,bkhd->bqhd", weights, value), mask, key.shape[1])


def for_heads_of(query: Array, x: Array) -> Array:
    """Keys or values, each head repeated for the queries' heads that it serves."""
    return x if x.shape[2] == query.shape[2] else jnp.repeat(x, query.shape[2] // x.shape[2], axis=2)


def attend_cudnn(
    query: Array,
    key: Array,
    value: Array,
    mask: Mask = NO_MASK,
    bias: Array | None = None,
    scale: float | None = None,
    drop: Drop | None = None,
) -> Array:
    """The same on NVIDIA GPUs through cuDNN's fused kernel, in bfloat16 or float16; UserError for what it cannot do."""
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
    reason = beyond_cudnn(query, key, mask, bias, drop)
    if reason:
        raise UserError(f"model.attention='cudnn' cannot do this: {reason}; use model.attention=flash or xla")
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    seen = allowed(replace(mask, causal=False), queries, keys)
    if seen is not None:
        seen = _even(jnp.broadcast_to(seen, (batch, 1, queries, keys)), 2, 3)
    if bias is not None:
        bias = _even(jnp.broadcast_to(bias, (*bias.shape[:2], queries, keys)).astype(query.dtype), 2, 3)
    odd = queries % 2 or keys % 2
    lengths = [jnp.full(batch, n, jnp.int32) if odd else None for n in (queries, keys)]
    out = jax.nn.dot_product_attention(
        _even(query, 1), _even(key, 1), _even(value, 1), bias, seen, scale=scale, is_causal=mask.causal,
        query_seq_lengths=lengths[0], key_value_seq_lengths=lengths[1], implementation="cudnn",
    )  # fmt: skip
    return zero_where_nothing(out[:, :queries], mask, keys)


def _even(x: Array, *axes: int) -> Array:
    """With one more zero along each of these axes that is odd: jax refuses to train with cuDNN on odd lengths."""
    return jnp.pad(x, [(0, n % 2 if axis in axes else 0) for axis, n in enumerate(x.shape)])


def beyond_cudnn(
    query: Array, key: Array, mask: Mask, bias: Array | None, drop: Drop | None = None, least: int = 8, most: int = 128
) -> str | None:
    """Why cuDNN cannot compute this (shapes or arrays of queries and keys), or None where it can."""
    lengths, width = (query.shape[1], key.shape[1]), query.shape[-1]
    reasons = {
        f"{query.dtype}, and the kernel computes in bfloat16 or float16": query.dtype
        not in (jnp.bfloat16, jnp.float16),
        f"heads of width {width}, not a multiple of {least} up to {most}": width % least != 0 or width > most,
        "dropout of attention weights": drop is not None,
        "causal attention of fewer queries than keys": mask.causal and lengths[0] != lengths[1],
        "a bias and a mask of single examples, which it would add up to [batch, heads, queries, keys]": (
            bias is not None and mask.per_example
        ),
    }
    return _first(reasons)


def beyond_splash(query: Array, key: Array, mask: Mask, bias: Array | None, drop: Drop | None = None) -> str | None:
    """Why splash attention cannot compute this, or None where it can."""
    reasons = {
        "an additive bias": bias is not None,
        "dropout of attention weights": drop is not None,
        "causal attention of fewer queries than keys": mask.causal and query.shape[1] != key.shape[1],
        f"{query.dtype}": query.dtype not in (jnp.bfloat16, jnp.float32),
    }
    return _first(reasons)


def _first(reasons: dict[str, bool]) -> str | None:
    return next((reason for reason, holds in reasons.items() if holds), None)


class Choice(NamedTuple):
    """What `attention=flash` computes with, and why."""

    name: str  # cudnn | splash | xla
    reason: str


def flash_choice(
    platform: str, query: Array, key: Array, mask: Mask, bias: Array | None = None, drop: Drop | None = None
) -> Choice:
    """The fused kernel of a platform ("cpu", "gpu" or "tpu"), or the plain form where it has none that can do this.

    `query` and `key` may be shapes. A plan for a device whose compiler is not installed is of the plain form too.
    """
    name, there, beyond = {
        "gpu": ("cudnn", cuda_plugin_installed() and cudnn_installed(), beyond_cudnn),
        "tpu": ("splash", jax.default_backend() == "tpu" or tpu_compiler_installed(), beyond_splash),
    }.get(platform, ("xla", True, lambda *_: f"no fused kernel for {platform}"))
    reason = beyond(query, key, mask, bias, drop) if there else f"the compiler for {platform} is not installed"
    return Choice("xla", reason) if reason else Choice(name, f"the fused kernel for {platform}")


# From how many keys on the fused kernel wins: cuDNN's on an H100 lost with 16 tokens and won with 50 (docs/results/speed.md). For
# splash, whose blocks are of 128 tokens or more, it is a guess.
WINS_FROM = {"cudnn": 48, "splash": 1024}


def auto_choice(
    platform: str, query: Array, key: Array, mask: Mask, bias: Array | None = None, drop: Drop | None = None
) -> Choice:
    """As `flash_choice`, where it also wins: what `attention=auto` computes with, and why."""
    choice, tokens = flash_choice(platform, query, key, mask, bias, drop), key.shape[1]
    least = WINS_FROM.get(choice.name, 0)
    return choice if tokens >= least else Choice("xla", f"{tokens} tokens, and {choice.name} wins from {least}")


_CHOICES: ContextVar[set[Choice] | None] = ContextVar("choices", default=None)


@contextmanager
def flash_choices() -> Iterator[set[Choice]]:
    """What `attention=flash` chooses in the programs that are traced inside; empty where nothing asks for it."""
    chosen: set[Choice] = set()
    token = _CHOICES.set(chosen)
    try:
        yield chosen
    finally:
        _CHOICES.reset(token)


def chosen_by(choose: Callable[..., Choice]) -> Attention:
    """Attention by what `choose` picks for the platform that the program is traced for; `flash_choices` is told of it."""

    def attend_chosen(
        query: Array,
        key: Array,
        value: Array,
        mask: Mask = NO_MASK,
        bias: Array | None = None,
        scale: float | None = None,
        drop: Drop | None = None,
    ) -> Array:
        choice, chosen = choose(target_platform(), query, key, mask, bias, drop), _CHOICES.get()
        if chosen is not None:
            chosen.add(choice)
        if choice.name == "splash":
            return attend_splash(query, key, value, mask, scale)
        return ATTENTION[choice.name](query, key, value, mask, bias, scale, drop)

    return attend_chosen


attend_flash, attend_auto = chosen_by(flash_choice), chosen_by(auto_choice)
ATTENTION: dict[str, Attention] = {
    "xla": attend, "cudnn": attend_cudnn, "flash": attend_flash, "auto": attend_auto
}  # fmt: skip


def rotate(x: Array, table: tuple[Array, Array]) -> Array:
    """Rotary positions: `x cos + rotate_half(x) sin` (Su et al. 2021, arXiv 2104.09864), in float32 or wider.

    `x` [..., N, H, d]; `table` is (cos, sin), each [N, d], or [B, N, d] where rows have positions of their own (packed
    documents); the first half of d pairs with the second.
    """
    kind = wide(x.dtype)
    cos, sin = (t[..., None, :].astype(kind) for t in table)
    first, second = jnp.split(x.astype(kind), 2, axis=-1)
    return (x * cos + jnp.concatenate([-second, first], axis=-1) * sin).astype(x.dtype)


def attend_sections(
    attend: Attention,
    heads: Sequence[Array],
    sections: Sections,
    mask: Mask = NO_MASK,
    rope: Rope = None,
    bias: Array | None = None,
) -> Array:
    """Self-attention within each sequence of packed tokens -> [G, S, H, d].

    Args:
        attend: softmax attention.
        heads: queries, keys and values in this order: one array [G, S, 3, H, d], or [G, S, 1, H, d] and [G, S, 2, K, d].
        sections: the sequences of a row. Facts of single examples (`mask`, `bias`) belong to one section alone.
        mask: who may attend to whom, in every sequence.
        rope: (cos, sin) of each section, or None.
        bias: added to the logits.
    """
    if len(sections) > 1 and (mask.per_example or bias is not None):
        raise ValueError(f"a mask of single examples or a bias is for one section, not {len(sections)}")
    out = []
    parts = zip(*(split_sections(x, sections) for x in heads), strict=True)
    for i, (part, section) in enumerate(zip(parts, sections, strict=True)):
        rows = [x.reshape(-1, section.tokens, *x.shape[2:]) for x in part]
        query, key, value = (x[:, :, j] for x in rows for j in range(x.shape[2]))
        if rope is not None:
            query, key = rotate(query, rope[i]), rotate(key, rope[i])
        found = attend(query, key, value, mask, bias)
        out.append(found.reshape(*part[0].shape[:2], *found.shape[2:]))
    return jnp.concatenate(out, axis=1)


class Qkv(nn.Module):
    """The projection to queries, keys and values; `bias`: all | query_value (none for the keys) | none.

    Heads share the width of the tokens out, or have `head_width` each.
    """

    heads: int
    bias: str
    dtype: str
    kernel_init: nn.initializers.Initializer
    head_width: int | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., D] -> [..., 3, H, d]."""
        shape = (3, self.heads, self.head_width or x.shape[-1] // self.heads)
        kernel = self.param("kernel", as_matrix(self.kernel_init), (x.shape[-1],), shape)
        rows = dot_rows(x.astype(self.dtype).reshape(-1, x.shape[-1]), kernel.astype(self.dtype))
        if self.bias != "none":
            biased = np.array([0, 1, 2] if self.bias == "all" else [0, 2])
            bias = self.param("bias", nn.initializers.zeros_init(), (len(biased), *shape[1:])).astype(self.dtype)
            rows = add_to_rows(rows, bias if self.bias == "all" else jnp.zeros(shape, bias.dtype).at[biased].set(bias))
        return rows.reshape(*x.shape[:-1], *shape)
