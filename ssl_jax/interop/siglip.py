"""SigLIP's tower of pictures as transformers has it. Its attention pooling is a head, and stays beside."""

from __future__ import annotations

from typing import Any

from ssl_jax.interop.blocks import joined, linear, norm, separate
from ssl_jax.interop.family import HALVES, Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.vit import embedding, grid_of_table, heads_of, mlp_named, rgb, stack_of, vit_model

EMBEDDED, PLACES = "embeddings.patch_embedding", "embeddings.position_embedding.weight"
LAYER = "encoder.layers.{}."


def layer(heads: int) -> tuple[Rule, ...]:
    """One block."""
    return (
        *norm("layer_norm1", "norm1"),
        *separate(tuple(f"self_attn.{n}_proj" for n in "qkv"), "qkv", heads),
        *joined("self_attn.out_proj", "proj", heads),
        *norm("layer_norm2", "norm2"),
        *linear("mlp.fc1", "fc1"),
        *linear("mlp.fc2", "fc2"),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        rule(PLACES, "positions"),
        *embedding(model, EMBEDDED),
        *stack_of(model, layer(model["heads"]), LAYER),
        *norm("post_layernorm", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    inner = facts.config.get("vision_config") or facts.config.get("vision") or facts.config
    facts = facts._replace(config=inner)
    width = facts.shape(f"{EMBEDDED}.weight")[0]
    section = vit_model(
        facts, EMBEDDED, LAYER, f"{LAYER.format(0)}mlp.fc1.weight", heads_of(facts, width, "num_attention_heads"),
        positions="learned", class_token=False, mlp=mlp_named(facts, "hidden_act") if "hidden_act" in inner else "gelu_tanh",
        norm_epsilon=float(inner.get("layer_norm_eps", 1e-6)),
    )  # fmt: skip
    return section | grid_of_table(facts, facts.shape(PLACES)[0], section["patch"], "image_size")


SIGLIP = Family(
    "siglip",
    "SigLIP's tower of pictures, of transformers",
    (f"{EMBEDDED}.weight", f"{EMBEDDED}.bias", PLACES, "encoder.layers.0.layer_norm1.weight", "post_layernorm.weight"),
    model,
    rules,
    absent=("embeddings.class_embedding",),
    types=("siglip",),
    beside=r"head\.|embeddings\.position_ids$",
    pixels=lambda facts: rgb(facts, HALVES),
    prefix="vision_model.",
)
