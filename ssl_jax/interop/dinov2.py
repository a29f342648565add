"""DINOv2 as transformers has it: with and without registers, GELU and SwiGLU."""

from __future__ import annotations

from typing import Any

from ssl_jax.interop.blocks import gated, gated_fused, joined, linear, norm, separate
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.vit import embedding, grid_of_table, heads_of, rgb, stack_of, tokens, vit_model

EMBEDDED = "embeddings.patch_embeddings.projection"
FIRST = "encoder.layer.0."
RENAMES = (
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.down_proj\.", ".mlp.weights_out."),
)


def layer(model: Model) -> tuple[Rule, ...]:
    """One block."""
    heads, swiglu = model["heads"], model.get("mlp") == "swiglu"
    mlp = (
        (*gated_fused("mlp.weights_in", "fc1"), *gated("mlp.gate_proj", "mlp.up_proj", "fc1"))
        if swiglu
        else linear("mlp.fc1", "fc1")
    )
    return (
        *norm("norm1", "norm1"),
        *separate(tuple(f"attention.attention.{n}" for n in ("query", "key", "value")), "qkv", heads),
        *joined("attention.output.dense", "proj", heads),
        rule("layer_scale1.lambda1", "layer_scale1"),
        *norm("norm2", "norm2"),
        *mlp,
        *linear("mlp.weights_out" if swiglu else "mlp.fc2", "fc2"),
        rule("layer_scale2.lambda1", "layer_scale2"),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    names = ("cls_token", "position_embeddings", "register_tokens", "mask_token")
    return (
        *tokens(model, *(f"embeddings.{name}" for name in names)),
        *embedding(model, EMBEDDED),
        *stack_of(model, layer(model), "encoder.layer.{}."),
        *norm("layernorm", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    swiglu = f"{FIRST}mlp.fc1.weight" not in facts.tensors
    inner = f"{FIRST}mlp.{'weights_out' if swiglu else 'fc2'}.weight"
    section = vit_model(
        facts, EMBEDDED, "encoder.layer.{}.", inner,
        heads_of(facts, facts.shape(f"{EMBEDDED}.weight")[0], "num_attention_heads", "heads"),
        positions="learned", pool="class", layer_scale=float(facts.config.get("layerscale_value", 1.0)),
        norm_epsilon=float(facts.config.get("layer_norm_eps", 1e-6)),
    )  # fmt: skip
    rows = facts.shape("embeddings.position_embeddings")[1] - 1
    registers = "embeddings.register_tokens"
    return section | {
        "mlp_dim": facts.shape(inner)[1],
        **grid_of_table(facts, rows, section["patch"], "image_size", "image"),
        **({"mlp": "swiglu"} if swiglu else {}),
        **({"registers": facts.shape(registers)[1]} if registers in facts.tensors else {}),
    }


DINOV2 = Family(
    "dinov2",
    "DINOv2 of transformers, with and without registers, GELU or SwiGLU",
    (f"{EMBEDDED}.weight", f"{FIRST}norm1.weight", f"{FIRST}layer_scale1.lambda1", "embeddings.position_embeddings"),
    model,
    rules,
    types=("dinov2",),
    renames=RENAMES,
    beside=r"classifier\.",
    pixels=rgb,
)
