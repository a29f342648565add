"""DINOv3's ViT as transformers has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssl_jax.interop.blocks import KINDS, gated, joined, linear, norm, separate
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.transforms import constant
from ssl_jax.interop.vit import embedding, heads_of, rgb, stack_of, vit_model

EMBEDDED = "embeddings.patch_embeddings"


def layer(model: Model) -> tuple[Rule, ...]:
    """One block."""
    heads, qkv = model["heads"], tuple(f"attention.{n}_proj" for n in "qkv")
    gate = model.get("mlp") == "swiglu"
    return (
        *norm("norm1", "norm1"),
        *separate(qkv, "qkv", heads, KINDS[model.get("qkv_bias", "all")]),
        *joined("attention.o_proj", "proj", heads),
        rule("layer_scale1.lambda1", "layer_scale1"),
        *norm("norm2", "norm2"),
        *(gated("mlp.gate_proj", "mlp.up_proj", "fc1") if gate else linear("mlp.up_proj", "fc1")),
        *linear("mlp.down_proj", "fc2"),
        rule("layer_scale2.lambda1", "layer_scale2"),
    )


def registers(model: Model) -> Rule:
    """The registers; a file of a model without any has an empty tensor for them."""
    if model.get("registers"):
        return rule("embeddings.register_tokens", "registers")
    return rule("embeddings.register_tokens", (), constant(lambda: np.zeros((1, 0, model["width"]), np.float32)))


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        rule("embeddings.cls_token", "class_token"),
        registers(model),
        rule("embeddings.mask_token", "mask_token"),
        *embedding(model, EMBEDDED),
        *stack_of(model, layer(model), "layer.{}."),
        *norm("norm", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    biased = [f"layer.0.attention.{n}_proj.bias" in facts.tensors for n in "qk"]
    before = "embeddings.register_tokens"
    return vit_model(
        facts, EMBEDDED, "layer.{}.", "layer.0.mlp.up_proj.weight",
        heads_of(facts, facts.shape(f"{EMBEDDED}.weight")[0], "num_attention_heads", "heads"),
        positions="rope", pool="class", layer_scale=float(facts.config.get("layerscale_value", 1.0)),
        registers=facts.shape(before)[1] if before in facts.tensors else 0,
        mlp="swiglu" if "layer.0.mlp.gate_proj.weight" in facts.tensors else "gelu",
        qkv_bias="all" if biased[1] else "query_value" if biased[0] else "none",
        norm_epsilon=float(facts.config.get("layer_norm_eps", 1e-5)),
        rope_base=float(facts.config.get("rope_theta") or (facts.config.get("rope_parameters") or {}).get("rope_theta", 100.0)),
    )  # fmt: skip


DINOV3 = Family(
    "dinov3",
    "DINOv3's ViTs of transformers",
    (f"{EMBEDDED}.weight", "layer.0.norm1.weight", "layer.0.attention.q_proj.weight", "layer.0.mlp.up_proj.weight"),
    model,
    rules,
    types=("dinov3_vit",),
    renames=((r"(^|\.)model\.layer\.", r"\1layer."),),
    beside=r"rope_embeddings\.",
    pixels=rgb,
)
