"""Transformer blocks, stacked with a scan over layers: encoders and decoders.

Sequences of several lengths go through together (`drop_path.Section`): what works on single tokens sees all of them in one
array, attention is one call for each length. Padding, order and documents are a `Mask`.

Every parameter of the stack has a leading layer axis, so compile time does not grow with depth. What is per layer
elsewhere (trust ratios, layer decay, weight conversion) must respect that axis; it lives under the name `blocks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from ssl_jax.devices.mesh import HOST, STACK, shard_batch
from ssl_jax.errors import UserError
from ssl_jax.models.attention import ATTENTION, Drop, Qkv, Rope, attend_sections
from ssl_jax.models.cache import CACHE, attend_to_remembered, made_once
from ssl_jax.models.drop_path import (
    Branch,
    DropPath,
    Section,
    Sections,
    dropped_sequences,
    residual,
    subset_of_sequences,
)
from ssl_jax.models.dropout import Dropout, dropped
from ssl_jax.models.mask import NO_MASK, Mask
from ssl_jax.models.rows import ACTIVATIONS, GATES, NORMS, Dense, Initializer, hidden_layer

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


Norm = Callable[[Array], Array]
Add = Callable[[Branch, Array], Array]  # a branch and its input -> their sum


def norm_first(add: Add, norm: Norm, branch: Branch, x: Array) -> Array:
    """`x + branch(norm(x))`."""
    return add(lambda h, sections: branch(norm(h), sections), x)


def norm_last(add: Add, norm: Norm, branch: Branch, x: Array) -> Array:
    """`norm(x + branch(x))`, as in Vaswani et al. 2017."""
    return norm(add(branch, x))


ORDERS = {"pre": norm_first, "post": norm_last}


@dataclass(frozen=True)
class Style:
    """What blocks of language models do otherwise than a ViT's, which are the default.

    BERT and BART: order="post", final_norm=False. GPT-2: the default. Llama: norm="rms", bias=False, kv_heads=8. T5:
    norm="rms", bias=False, scale=1.0. PatchTST: norm="batch", whose statistics are of all tokens of the global batch. What
    differs in the MLP and its norms' epsilon are fields of `Transformer`.
    """

    norm: str = "layer"  # layer | layer_unbiased | rms | batch
    order: str = "pre"  # the norm comes before a branch (pre) | after its sum (post)
    final_norm: bool = True
    bias: bool = True  # of dense layers; without it no queries, keys and values have one either
    kv_heads: int | None = None  # heads of keys and values; default: as many as of queries
    head_width: int | None = None  # default: width / heads
    scale: float | None = None  # of the attention logits; default: 1 / sqrt(head width)
    residual_start: float = 1.0  # factor on the initial kernels that end a branch; GPT-2: 1 / sqrt(2 depth)
    query_start: float = 1.0  # factor on those of the queries; T5, which does not scale logits: 1 / sqrt(head width)

    def __post_init__(self) -> None:
        for value, known, name in ((self.norm, (*NORMS, "batch"), "norm"), (self.order, ORDERS, "order")):
            if value not in known:
                raise UserError(f"{name}={value!r} is unknown; use one of {', '.join(known)}")

    def norms(self, epsilon: float, dtype: str, train: bool) -> Callable[..., Any]:
        """What makes a norm of a given `name`."""
        if self.norm != "batch":
            return partial(NORMS[self.norm], epsilon, dtype)
        return partial(nn.BatchNorm, not train, momentum=0.9, epsilon=epsilon, dtype=dtype, use_fast_variance=False)


def times(init: Initializer, factor: float) -> Initializer:
    """`init`, and what it draws times `factor`."""
    return init if factor == 1 else lambda *shape: factor * init(*shape)


def times_first_third(init: Initializer, factor: float) -> Initializer:
    """The same for the first third of a matrix's columns: of queries, keys and values, the queries."""

    def drawn(key: Array, shape: tuple[int, ...], *dtype: Any) -> Array:
        matrix = init(key, shape, *dtype)
        return matrix.at[:, : shape[1] // 3].multiply(factor)

    return init if factor == 1 else drawn


class Memory(NamedTuple):
    """What a decoder's blocks attend to beside their own tokens: the states [B, M, D] of an encoder.

    `valid` [B, M] marks those that may be attended to, `segments` [B, M] their documents, where `Mask.segments` numbers
    those of the decoder's tokens.
    """

    states: Array
    valid: Array | None = None
    segments: Array | None = None

    def mask(self, queries: Mask) -> Mask:
        """Who attends to whom, of tokens with the mask `queries`."""
        return Mask(self.valid, False, *((None, None) if self.segments is None else (queries.segments, self.segments)))


class Bottleneck(nn.Module):
    """`x + GELU(x W_0) W_1` through `width` numbers; W_1 starts at zero."""

    width: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., D] -> [..., D]."""
        down = Dense(self.width, dtype=self.dtype, name="down")
        up = Dense(x.shape[-1], dtype=self.dtype, kernel_init=nn.initializers.zeros_init(), name="up")
        return x + up(ACTIVATIONS["gelu"](down(x)))


class Block(nn.Module):
    """LayerNorm, self-attention, LayerNorm, MLP, each branch with a residual (Dosovitskiy et al. 2020, eq. 2-3).

    `layer_scale` multiplies each branch by a learned vector that starts there (Touvron et al. 2021, arXiv 2103.17239, eq. 4).
    `mlp="swiglu"` is `silu(x W_0) * (x W_1)` of width `mlp_dim` (Shazeer 2020, arXiv 2002.05202, eq. 6). `qkv_bias` may
    leave out the keys' bias ("query_value", as DINOv3 does: with rotary positions it is not redundant) or all of it ("none").
    With a `Memory` there is a third branch between the two, with a norm of its own: attention to it. A `condition` shifts and
    scales what each norm gives and scales each branch, by a dense layer that starts at zero (Peebles, Xie 2022, arXiv 2212.09748,
    adaLN-zero): the block then starts as the identity. `adapter` > 0 is the width of a bottleneck after each branch, which starts
    as nothing (Houlsby et al. 2019, arXiv 1902.00751).
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
    style: Style = Style()
    dropout: Dropout = Dropout()
    adapter: int = 0
    train: bool = False  # BatchNorm takes the statistics of this batch

    @nn.compact
    def __call__(
        self,
        x: Array,
        rate: Array,
        mask: Mask,
        rope: Rope,
        bias: Array | None = None,
        memory: Memory | None = None,
        condition: Array | None = None,
    ) -> tuple[Array, Array | None]:
        """Packed tokens [B, S, D] -> packed tokens; the second value is what a scan collects (nothing).

        `rate` is this layer's probability to drop a branch, `mask` says who may attend to whom, `rope` holds the rotation
        (cos, sin) of each section, or None, `bias` is added to the logits of self-attention, `memory` is attended to, and
        `condition` [B, C] modulates all branches.
        """
        width = x.shape[-1]
        dense = partial(Dense, dtype=self.dtype, kernel_init=self.kernel_init, use_bias=self.style.bias)
        ending = partial(dense, kernel_init=times(self.kernel_init, self.style.residual_start))
        norm = self.style.norms(self.norm_epsilon, self.dtype, self.train)
        attend = partial(ATTENTION[self.attention], scale=self.style.scale, drop=self._drop_weights())

        def scaled(name: str, h: Array) -> Array:
            if self.layer_scale is None:
                return h
            return h * self.param(name, nn.initializers.constant(self.layer_scale), (width,)).astype(h.dtype)

        def attention(h: Array, sections: Sections) -> Array:
            h = attend_sections(attend_to_remembered(self, attend), self._heads(h, dense), sections, mask, rope, bias)
            return scaled("layer_scale1", ending(width, axes=2, name="proj")(h))

        def attention_to(memory: Memory, h: Array, sections: Sections) -> Array:
            query, key_value = self._grouped(h, memory.states, dense, "cross_", partial(made_once, self, "memory"))
            h = attend(query, key_value[:, :, 0], key_value[:, :, 1], memory.mask(mask))
            return scaled("layer_scale_cross", ending(width, axes=2, name="cross_proj")(h))

        def mlp(h: Array, sections: Sections) -> Array:
            layer = hidden_layer(self.mlp, self.mlp_dim)
            h = self._dropped(layer.apply(dense(layer.features, name="fc1")(h)), self.dropout.hidden)
            return scaled("layer_scale2", ending(width, name="fc2")(h))

        cross = {} if memory is None else {"norm_cross": partial(attention_to, memory)}
        branches: dict[str, Branch] = {"norm1": attention, **cross, "norm2": mlp}
        x = checkpoint_name(shard_batch(x), LAYER_INPUT)
        changes = _modulations(condition, len(branches), width, self.dtype)
        for (name, branch), change in zip(branches.items(), changes, strict=True):
            normed, branch = _modulated(norm(name=name), self._adapted(name, branch), change)
            x = ORDERS[self.style.order](partial(self._residual, rate), normed, branch, x)
        return x, None

    def _heads(self, h: Array, dense: Callable[..., Dense]) -> tuple[Array, ...]:
        """Queries, keys and values of `h`, as `attend_sections` takes them."""
        if (self.style.kv_heads or self.heads) == self.heads:
            bias = self.qkv_bias if self.style.bias else "none"
            width = self.style.head_width
            init = times_first_third(self.kernel_init, self.style.query_start)
            return (Qkv(self.heads, bias, self.dtype, init, width, name="qkv")(h),)
        biased = self.style.bias and self.qkv_bias == "all"
        query, key_value = self._grouped(h, h, partial(dense, use_bias=biased))
        return query[:, :, None], key_value

    def _grouped(
        self,
        h: Array,
        other: Array,
        dense: Callable[..., Dense],
        prefix: str = "",
        made: Callable[[Callable[[], Array]], Array] = lambda make: make(),
    ) -> tuple[Array, Array]:
        """Queries [B, S, H, d] of `h`, and keys and values [B, M, 2, K, d] of `other`, which `made` may already have."""
        head = self.style.head_width or h.shape[-1] // self.heads
        init = times(self.kernel_init, self.style.query_start)
        query = dense((self.heads, head), kernel_init=init, name=f"{prefix}query")(h)
        key_value = dense((2, self.style.kv_heads or self.heads, head), name=f"{prefix}key_value")
        return query, made(lambda: key_value(other))

    def _adapted(self, name: str, branch: Branch) -> Branch:
        """The branch and, where there are adapters, the one of its own after it."""
        if not self.adapter:
            return branch
        bottleneck = Bottleneck(self.adapter, self.dtype, name=name.replace("norm", "adapter"))
        return lambda h, sections: bottleneck(branch(h, sections))

    def _dropped(self, x: Array, rate: float) -> Array:
        return dropped(self.make_rng(NOISE), x, rate) if rate else x

    def _drop_weights(self) -> Drop | None:
        return partial(self._dropped, rate=self.dropout.weights) if self.dropout.weights else None

    def _residual(self, rate: Array, branch: Branch, x: Array) -> Array:
        def noisy(h: Array, sections: Sections) -> Array:
            return self._dropped(branch(h, sections), self.dropout.branch)

        if self.drop is None:
            return residual(noisy, x, self.sections)
        key = self.make_rng(NOISE)
        if self.drop.mode == "linear":
            return dropped_sequences(key, noisy, x, self.sections, rate)
        return subset_of_sequences(key, noisy, x, self.sections, self.drop)


class Modulation(NamedTuple):
    """What a condition does to a branch, each [B, 1, D]."""

    shift: Array
    scale: Array
    gate: Array


def _modulations(condition: Array | None, count: int, width: int, dtype: str) -> list[Modulation | None]:
    """One for each of `count` branches; inside a compact method."""
    if condition is None:
        return [None] * count
    made = Dense(3 * count * width, dtype=dtype, kernel_init=nn.initializers.zeros_init(), name="modulation")(condition)
    parts = jnp.split(made[:, None], 3 * count, axis=-1)
    return [Modulation(*parts[3 * i : 3 * i + 3]) for i in range(count)]


def _modulated(norm: Norm, branch: Branch, change: Modulation | None) -> tuple[Norm, Branch]:
    if change is None:
        return norm, branch
    return (
        lambda x: norm(x) * (1 + change.scale) + change.shift,
        lambda h, sections: branch(h, sections) * change.gate,
    )


class RecordedBlock(Block):
    """A block whose output a scan collects."""

    def __call__(self, *args: Any) -> tuple[Array, Array | None]:
        """As `Block`, with the output twice."""
        x, _ = super().__call__(*args)
        return x, x


class Transformer(nn.Module):
    """`depth` blocks and a final LayerNorm; with a `Memory`, a decoder that attends to it.

    `local_prefix` leading tokens of every sequence outside the first section have a final LayerNorm of their own (DINOv3).
    """

    depth: int
    heads: int
    mlp_dim: int
    dtype: str = "float32"
    remat: str = "full"  # none | dots | full | offload
    unroll: int = 1  # layers per scan iteration; `depth` unrolls the loop without changing the parameters
    attention: str = (
        "xla"  # xla | cudnn | flash: the fused kernel of the platform, where there is one | auto: where it wins
    )
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    mlp: str = "gelu"  # gelu | gelu_tanh | quick_gelu | relu | swiglu | geglu | geglu_tanh
    layer_scale: float | None = None
    qkv_bias: str = "all"  # all | query_value | none
    norm_epsilon: float = 1e-6
    drop: DropPath | None = None
    local_prefix: int = 0
    style: Style = Style()
    dropout: Dropout = Dropout()
    adapter: int = 0

    def __call__(
        self,
        x: Array,
        mask: Mask = NO_MASK,
        sections: Sections = (),
        rope: Rope = None,
        train: bool = False,
        bias: Array | None = None,
        memory: Memory | None = None,
        condition: Array | None = None,
    ) -> Array:
        """Packed tokens [B, S, D] -> packed tokens, after the final norm. The arguments are those of `outputs`."""
        return self.outputs(x, mask, sections, rope, train, bias, memory, condition)[0]

    @nn.compact
    def outputs(
        self,
        x: Array,
        mask: Mask = NO_MASK,
        sections: Sections = (),
        rope: Rope = None,
        train: bool = False,
        bias: Array | None = None,
        memory: Memory | None = None,
        condition: Array | None = None,
        last: int = 0,
    ) -> tuple[Array, Array | None]:
        """The tokens after the final norm, and those after each of the `last` blocks [last, B, S, D], before it.

        Args:
            x: tokens; where `sections` is left out, one sequence for each example.
            mask: who may attend to whom. What it says of single examples is for one section of one sequence. Segments [depth, B,
                S], and nothing else, are those of every block.
            sections: the sequences of which each row of `x` is made.
            rope: (cos, sin) [tokens, head width] for each section, or [B, tokens, head width] where rows differ; or None.
            train: drop residual branches and numbers, with randomness from the stream `noise`.
            bias: added to the logits of self-attention in every block: [H, S, S] or [B, H, S, S], or 1 in a place of B or H.
            memory: what every block attends to between its own tokens and the MLP: an encoder's states.
            condition: [B, C], what modulates every block (adaLN-zero).
            last: how many blocks' outputs are returned; None in their place where it is 0.
        """
        sections = sections or (Section(1, x.shape[1]),)
        drop = self.drop if train and self.drop is not None and self.drop.rate > 0 else None
        dropout = self.dropout if train else Dropout()
        self._check(x.shape[-1], mask, rope, bias, memory, drop)
        if dropout.tokens:
            x = dropped(self.make_rng(NOISE), x, dropout.tokens)
        policy, kind = REMAT_POLICIES[self.remat], RecordedBlock if last else Block
        block = kind if self.remat == "none" else nn.remat(kind, policy=policy, prevent_cse=False)
        stack = nn.scan(
            block,
            variable_axes={"params": 0, CACHE: 0, "batch_stats": 0},
            split_rngs={"params": True, NOISE: True},
            in_axes=(0, 0 if _of_blocks(mask) else nn.broadcast, *[nn.broadcast] * 4),
            length=self.depth,
            unroll=self.unroll,
        )
        blocks = stack(
            self.heads, self.mlp_dim, self.dtype, self.attention, self.kernel_init, self.mlp, self.layer_scale,
            self.qkv_bias, self.norm_epsilon, sections, drop, self.style, dropout, self.adapter, train, name=STACK,
        )  # fmt: skip
        x, layers = blocks(x, (drop or DropPath(0.0)).rates(self.depth), mask, rope, bias, memory, condition)
        return self._normed(x, sections, train), layers[-last:] if layers is not None and last else None

    def _normed(self, x: Array, sections: Sections, train: bool) -> Array:
        norm = self.style.norms(self.norm_epsilon, self.dtype, train)
        normed = norm(name="norm")(x) if self.style.final_norm else x
        if self.local_prefix and len(sections) > 1:
            local = [np.tile(np.arange(s.tokens) < self.local_prefix * (i > 0), s.rows) for i, s in enumerate(sections)]
            normed = jnp.where(np.concatenate(local)[:, None], norm(name="norm_local")(x), normed)
        return normed

    def _check(
        self, width: int, mask: Mask, rope: Rope, bias: Array | None, memory: Memory | None, drop: DropPath | None
    ) -> None:
        if width % self.heads and self.style.head_width is None:
            raise UserError(f"width {width} is not divisible by heads={self.heads}")
        if self.heads % (self.style.kv_heads or self.heads):
            raise UserError(f"heads={self.heads} is not a multiple of kv_heads={self.style.kv_heads}")
        if (self.style.kv_heads or self.heads) != self.heads and self.qkv_bias == "query_value":
            raise UserError("qkv_bias='query_value' needs as many heads of keys as of queries; use all or none")
        for value, known, name in (
            (self.remat, REMAT_POLICIES, "remat"),
            (self.attention, ATTENTION, "attention"),
            (self.mlp, (*ACTIVATIONS, *GATES), "mlp"),
            (self.qkv_bias, ("all", "query_value", "none"), "qkv_bias"),
        ):
            if value not in known:
                raise UserError(f"{name}={value!r} is unknown; use one of {', '.join(known)}")
        rows = (
            mask.per_example,
            bias is not None and bias.ndim == 4,
            memory is not None,
            *[t[0].ndim == 3 for t in rope or ()],
        )
        if drop is not None and drop.mode == "subset" and any(rows):
            raise UserError(
                "drop_path_mode='subset' moves sequences, and masks, positions or memory of single examples would not "
                "follow; use drop_path_mode=linear"
            )


def _of_blocks(mask: Mask) -> bool:
    return mask.segments is not None and mask.segments.ndim == 3


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
