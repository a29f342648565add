"""Llama of transformers."""

from __future__ import annotations

from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop.blocks import gated, joined, linear, norm, separate, single, table
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule
from ssl_jax.interop.text import heads_said, stack_of, text_model

QKV = tuple(f"self_attn.{n}_proj" for n in "qkv")


def layer(model: Model) -> tuple[Rule, ...]:
    """One block: with fewer heads of keys and values, queries are a layer of their own."""
    heads, few = model["heads"], model.get("kv_heads") or model["heads"]
    attention = (
        separate(QKV, "qkv", heads)
        if heads == few
        else (*single(QKV[0], "query", heads), *separate(QKV[1:], "key_value", few, (0, 1)))
    )
    return (
        *norm("input_layernorm", "norm1"),
        *attention,
        *joined("self_attn.o_proj", "proj", heads),
        *norm("post_attention_layernorm", "norm2"),
        *gated("mlp.gate_proj", "mlp.up_proj", "fc1"),
        *linear("mlp.down_proj", "fc2"),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        *table("embed_tokens", "tokens"),
        *stack_of(layer(model), "layers.{}.", model["depth"]),
        *norm("norm", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section. UserError for rotary positions that are rescaled, which are not built here."""
    heads = heads_said(facts, "num_attention_heads")
    rope = facts.config.get("rope_parameters") or facts.config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise UserError(
            f"config.json has rope_type={kind!r}; rescaled rotary positions are not built here, only 'default'"
        )
    few = facts.config.get("num_key_value_heads", heads)
    width, query = facts.shape("embed_tokens.weight")[1], facts.shape("layers.0.self_attn.q_proj.weight")[0]
    return text_model(
        facts, "embed_tokens.weight", "layers.{}.", heads, facts.shape("layers.0.mlp.gate_proj.weight")[0],
        length=facts.config.get("max_position_embeddings", 2048), causal=True, positions="rope", norm="rms", bias=False,
        mlp="swiglu", pool="last",
        norm_epsilon=float(facts.config.get("rms_norm_eps", 1e-6)),
        rope_base=float(rope.get("rope_theta") or facts.config.get("rope_theta", 10000.0)),
        **({} if few == heads else {"kv_heads": few}),
        **({} if query == width else {"head_width": query // heads}),
    )  # fmt: skip


LLAMA = Family(
    "llama",
    "Llama of transformers",
    ("embed_tokens.weight", "layers.0.self_attn.q_proj.weight", "layers.0.mlp.gate_proj.weight", "norm.weight"),
    model,
    rules,
    types=("llama",),
    beside=r"lm_head\.|layers\.\d+\.self_attn\.rotary_emb\.inv_freq$",
    prefix="model.",
)
