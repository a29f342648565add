"""BART of transformers, an encoder and a decoder."""

from __future__ import annotations

from typing import Any

from ssl_jax.interop.blocks import joined, linear, norm, separate, single, table
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, below, rule
from ssl_jax.interop.text import BOTH, heads_said, stack_of, text_model
from ssl_jax.interop.transforms import after
from ssl_jax.interop.vit import mlp_named

UNUSED = 2  # rows of the table of positions


def layer(heads: int, side: str) -> tuple[Rule, ...]:
    """One block of either half."""
    query, *key_value = (f"encoder_attn.{n}_proj" for n in "qkv")
    memory = (
        *single(query, "cross_query", heads),
        *separate(tuple(key_value), "cross_key_value", heads, (0, 1)),
        *joined("encoder_attn.out_proj", "cross_proj", heads),
        *norm("encoder_attn_layer_norm", "norm_cross"),
    )
    return (
        *separate(tuple(f"self_attn.{n}_proj" for n in "qkv"), "qkv", heads),
        *joined("self_attn.out_proj", "proj", heads),
        *norm("self_attn_layer_norm", "norm1"),
        *(memory if side == "decoder" else ()),
        *linear("fc1", "fc1"),
        *linear("fc2", "fc2"),
        *norm("final_layer_norm", "norm2"),
    )


def half(model: Model, side: str) -> tuple[Rule, ...]:
    """The encoder, or the decoder."""
    made = (
        rule("embed_positions.weight", "places/embedding", after(UNUSED)),
        *norm("layernorm_embedding", "normed"),
        *stack_of(layer(model["heads"], side), "layers.{}.", model["depth"]),
    )
    return below(made, f"{side}.", f"{side}/")


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (*table("shared", "encoder/tokens"), *half(model["encoder"], "encoder"), *half(model["decoder"], "decoder"))


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    return {"target": BOTH, **{side: half_model(facts, side) for side in ("encoder", "decoder")}}


def half_model(facts: Facts, side: str) -> dict[str, Any]:
    """The section of one half."""
    return text_model(
        facts, "shared.weight", f"{side}.layers.{{}}.", heads_said(facts, f"{side}_attention_heads"),
        facts.shape(f"{side}.layers.0.fc1.weight")[0],
        length=facts.shape(f"{side}.embed_positions.weight")[0] - UNUSED, causal=side == "decoder", embedding_norm=True,
        order="post", mlp=mlp_named(facts, "activation_function"), norm_epsilon=1e-5,
    )  # fmt: skip


BART = Family(
    "bart",
    "BART of transformers",
    ("shared.weight", "encoder.layers.0.self_attn.q_proj.weight", "decoder.layers.0.encoder_attn.q_proj.weight"),
    model,
    rules,
    types=("bart",),
    beside=r"(encoder|decoder)\.embed_tokens\.|lm_head\.|final_logits_bias$",
    prefix="model.",
)
