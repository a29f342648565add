"""T5 of transformers, an encoder and a decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ssl_jax.interop.blocks import gated, joined, linear, norm, separate, single, table
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, below, rule
from ssl_jax.interop.text import BOTH, heads_said, stack_of, text_model
from ssl_jax.interop.vit import mlp_named


def attention(theirs: str) -> tuple[str, ...]:
    """The names of queries, keys and values."""
    return tuple(f"{theirs}.{n}" for n in "qkv")


def layer(model: Model, side: str) -> tuple[Rule, ...]:
    """One block of either half."""
    heads, last = model["heads"], f"layer.{1 if side == 'encoder' else 2}"
    cross, dense = "layer.1.EncDecAttention", f"{last}.DenseReluDense"
    query, *key_value = attention(cross)
    memory = (
        *norm("layer.1.layer_norm", "norm_cross"),
        *single(query, "cross_query", heads),
        *separate(tuple(key_value), "cross_key_value", heads, ()),
        *joined(f"{cross}.o", "cross_proj", heads),
    )
    return (
        *norm("layer.0.layer_norm", "norm1"),
        *separate(attention("layer.0.SelfAttention"), "qkv", heads, ()),
        *joined("layer.0.SelfAttention.o", "proj", heads),
        *(memory if side == "decoder" else ()),
        *norm(f"{last}.layer_norm", "norm2"),
        *(gated(f"{dense}.wi_0", f"{dense}.wi_1", "fc1") if "geglu" in model["mlp"] else linear(f"{dense}.wi", "fc1")),
        *linear(f"{dense}.wo", "fc2"),
    )


def half(model: Model, side: str) -> tuple[Rule, ...]:
    """The encoder, or the decoder."""
    bias = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    made = (
        rule(bias, "relative/table"),
        *stack_of(layer(model, side), "block.{}.", model["depth"]),
        *norm("final_layer_norm", "transformer/norm"),
    )
    return below(made, f"{side}.", f"{side}/")


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (*table("shared", "encoder/tokens"), *half(model["encoder"], "encoder"), *half(model["decoder"], "decoder"))


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    return {"target": BOTH, **{side: half_model(facts, side) for side in ("encoder", "decoder")}}


def encoder_rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names of the encoder alone."""
    made = half(model, "encoder")
    return (
        *table("shared", "tokens"),
        *(replace(r, ours=tuple(p.removeprefix("encoder/") for p in r.ours)) for r in made),
    )


def encoder_model(facts: Facts) -> dict[str, Any]:
    """The `model` section of the encoder alone."""
    return half_model(facts, "encoder")


def half_model(facts: Facts, side: str) -> dict[str, Any]:
    """The section of one half."""
    dense = f"{side}.block.0.layer.{1 if side == 'encoder' else 2}.DenseReluDense"
    is_gated = f"{dense}.wi_0.weight" in facts.tensors
    kinds = {"gated-gelu": "geglu_tanh", "relu": "relu"}
    name = facts.config.get("feed_forward_proj", "gated-gelu" if is_gated else "relu")
    heads, width = heads_said(facts, "num_heads"), facts.shape("shared.weight")[1]
    inner = facts.shape(f"{side}.block.0.layer.0.SelfAttention.q.weight")[0]
    return text_model(
        facts, "shared.weight", f"{side}.block.{{}}.", heads, facts.shape(f"{dense}.wo.weight")[1],
        positions="relative", causal=side == "decoder", norm="rms", bias=False, attention_scale=1.0,
        mlp=kinds[name] if name in kinds else mlp_named(Facts({}, {"feed_forward_proj": name}), "feed_forward_proj"),
        norm_epsilon=float(facts.config.get("layer_norm_epsilon", 1e-6)),
        relative_buckets=facts.config.get("relative_attention_num_buckets", 32),
        relative_furthest=facts.config.get("relative_attention_max_distance", 128),
        **({} if inner == width else {"head_width": inner // heads}),
    )  # fmt: skip


T5 = Family(
    "t5",
    "T5 of transformers, 1.0 and 1.1",
    (
        "shared.weight",
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "decoder.block.0.layer.1.EncDecAttention.q.weight",
    ),
    model,
    rules,
    types=("t5", "mt5"),
    beside=r"lm_head\.|(encoder|decoder)\.embed_tokens\.|decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.",
)

T5_ENCODER = Family(
    "t5_encoder",
    "T5's encoder alone, of transformers",
    ("shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"),
    encoder_model,
    encoder_rules,
    types=("t5", "mt5"),
    renames=((r"^encoder\.embed_tokens\.", "shared."),),
    beside=r"decoder\.|lm_head\.",
)
