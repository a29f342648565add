"""Hugging Face's ViT, and what has its names: MAE, I-JEPA, MSN; VideoMAE on clips."""

from __future__ import annotations

from typing import Any

from ssl_jax.interop.blocks import KINDS, joined, linear, norm, separate
from ssl_jax.interop.family import HALVES, IMAGENET, Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.vit import (
    embedding,
    grid_of_table,
    heads_of,
    is_sincos,
    mlp_named,
    rgb,
    stack_of,
    tokens,
    vit_model,
)

EMBEDDED = "embeddings.patch_embeddings.projection"
LAYER = "encoder.layer.{}."
RENAMES = (
    (r"(^|\.)layers\.(\d+)\.(?=attention\.|mlp\.|layernorm_)", r"\1encoder.layer.\2."),
    (r"(encoder\.layer\.\d+\.attention)\.q_proj\.", r"\1.attention.query."),
    (r"(encoder\.layer\.\d+\.attention)\.k_proj\.", r"\1.attention.key."),
    (r"(encoder\.layer\.\d+\.attention)\.v_proj\.", r"\1.attention.value."),
    (r"(encoder\.layer\.\d+\.attention)\.o_proj\.", r"\1.output.dense."),
    (r"(encoder\.layer\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(encoder\.layer\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
    (r"\.attention\.q_bias$", ".attention.query.bias"),
    (r"\.attention\.v_bias$", ".attention.value.bias"),
)


def layer(model: Model) -> tuple[Rule, ...]:
    """One block."""
    heads, qkv = model["heads"], tuple(f"attention.attention.{n}" for n in ("query", "key", "value"))
    return (
        *norm("layernorm_before", "norm1"),
        *separate(qkv, "qkv", heads, KINDS[model.get("qkv_bias", "all")]),
        *joined("attention.output.dense", "proj", heads),
        *norm("layernorm_after", "norm2"),
        *linear("intermediate.dense", "fc1"),
        *linear("output.dense", "fc2"),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        *tokens(model, "embeddings.cls_token", "embeddings.position_embeddings"),
        rule("embeddings.mask_token", "mask_token"),
        *embedding(model, EMBEDDED),
        *stack_of(model, layer(model), LAYER),
        *norm("layernorm", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    section = sizes(facts)
    classed = "embeddings.cls_token" in facts.tensors
    table = "embeddings.position_embeddings"
    grid = grid_of_table(facts, facts.shape(table)[1] - classed, section["patch"], "image_size")
    fixed = is_sincos(facts, table, section["width"], grid.get("grid"), int(classed))
    return section | {
        "positions": "sincos" if fixed else "learned",
        "class_token": classed,
        "pool": "class" if classed and not fixed else "mean",
        **grid,
    }


def sizes(facts: Facts) -> dict[str, Any]:
    """What shapes and config.json say of a model with these names."""
    width, first = facts.shape(f"{EMBEDDED}.weight")[0], LAYER.format(0)
    biased = [f"{first}attention.attention.{n}.bias" in facts.tensors for n in ("query", "key")]
    return vit_model(
        facts,
        EMBEDDED,
        LAYER,
        f"{first}intermediate.dense.weight",
        heads_of(facts, width, "num_attention_heads"),
        mlp=mlp_named(facts, "hidden_act"),
        norm_epsilon=float(facts.config.get("layer_norm_eps", 1e-12)),
        qkv_bias="all" if biased[1] else "query_value" if biased[0] else "none",
    )


ANCHORS = (f"{EMBEDDED}.weight", "encoder.layer.0.attention.attention.query.weight", "layernorm.weight")
VIT = Family(
    "hf_vit",
    "ViT, DINO, MAE, I-JEPA and MSN of transformers",
    (*ANCHORS, "embeddings.position_embeddings", "encoder.layer.0.layernorm_before.weight"),
    model,
    rules,
    absent=("embeddings.distillation_token", "embeddings.register_tokens"),
    types=("vit", "vit_mae", "vit_msn", "ijepa"),
    renames=RENAMES,
    beside=r"(classifier|pooler|decoder)\.",
    pixels=lambda facts: rgb(facts, HALVES if facts.config.get("model_type") == "vit" else IMAGENET),
)


def clip_model(facts: Facts) -> dict[str, Any]:
    """The `model` section of VideoMAE; a fine-tuned one has its norm behind the mean of all tokens, as a part of its head."""
    normed = {} if "layernorm.weight" in facts.tensors else {"final_norm": False}
    return sizes(facts) | {"positions": "sequence", "class_token": False} | normed


VIDEOMAE = Family(
    "videomae",
    "VideoMAE of transformers",
    (
        f"{EMBEDDED}.weight",
        "encoder.layer.0.attention.attention.query.weight",
        "encoder.layer.0.layernorm_before.weight",
    ),
    clip_model,
    rules,
    absent=("embeddings.position_embeddings", "embeddings.cls_token"),
    types=("videomae",),
    renames=RENAMES,
    beside=r"(classifier|fc_norm|decoder|encoder_to_decoder)\.",
    pixels=rgb,
)
