"""SigLIP's towers as transformers has them. What leads from the last token of a text to the shared space is a head."""

from __future__ import annotations

from typing import Any

from ssl_jax.interop import text
from ssl_jax.interop.blocks import joined, linear, norm, separate, table
from ssl_jax.interop.family import HALVES, Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.transforms import query_first
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


def pooling(heads: int) -> tuple[Rule, ...]:
    """The attention that pools all tokens."""
    return (
        rule("head.probe", "map/probe"),
        rule(
            ("head.attention.in_proj_weight", "head.attention.in_proj_bias"),
            ("map/query/kernel", "map/query/bias", "map/key_value/kernel", "map/key_value/bias"),
            query_first(heads),
        ),
        *joined("head.attention.out_proj", "map/proj", heads),
        *norm("head.layernorm", "map/norm"),
        *linear("head.mlp.fc1", "map/fc1"),
        *linear("head.mlp.fc2", "map/fc2"),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        rule(PLACES, "positions"),
        *embedding(model, EMBEDDED),
        *stack_of(model, layer(model["heads"]), LAYER),
        *norm("post_layernorm", "transformer/norm"),
        *(pooling(model["heads"]) if model.get("pool") == "map" else ()),
    )


def text_rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names of the tower of texts; CLIP's are the same."""
    return (
        *table("embeddings.token_embedding", "tokens"),
        *table("embeddings.position_embedding", "places"),
        *text.stack_of(layer(model["heads"]), LAYER, model["depth"]),
        *norm("final_layer_norm", "transformer/norm"),
    )


def text_options(facts: Facts, mlp: str, epsilon: float, **options: Any) -> dict[str, Any]:
    """The `model` section of a tower of texts; `mlp` and `epsilon` where config.json does not say them."""
    inner = facts.config.get("text_config") or facts.config.get("text") or facts.config
    facts = facts._replace(config=inner)
    width = facts.shape("embeddings.token_embedding.weight")[1]
    return text.text_model(
        facts, "embeddings.token_embedding.weight", LAYER, heads_of(facts, width, "num_attention_heads"),
        facts.shape(f"{LAYER.format(0)}mlp.fc1.weight")[0], length=facts.shape(PLACES)[0], pool="last",
        mlp=mlp_named(facts, "hidden_act") if "hidden_act" in inner else mlp,
        norm_epsilon=float(inner.get("layer_norm_eps", epsilon)), **options,
    )  # fmt: skip


def text_model(facts: Facts) -> dict[str, Any]:
    """Our `model` section of the tower of texts. It reads padding like words: `augment` needs padding=True."""
    return text_options(facts, "gelu_tanh", 1e-6)


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    inner = facts.config.get("vision_config") or facts.config.get("vision") or facts.config
    facts = facts._replace(config=inner)
    width = facts.shape(f"{EMBEDDED}.weight")[0]
    section = vit_model(
        facts, EMBEDDED, LAYER, f"{LAYER.format(0)}mlp.fc1.weight", heads_of(facts, width, "num_attention_heads"),
        positions="learned", class_token=False, mlp=mlp_named(facts, "hidden_act") if "hidden_act" in inner else "gelu_tanh",
        norm_epsilon=float(inner.get("layer_norm_eps", 1e-6)), pool="map" if "head.probe" in facts.tensors else "mean",
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
    beside=r"embeddings\.position_ids$",
    pixels=lambda facts: rgb(facts, HALVES),
    prefix="vision_model.",
)

TOKENS = ("embeddings.token_embedding.weight", PLACES, "encoder.layers.0.layer_norm1.weight", "final_layer_norm.weight")
SIGLIP_TEXT = Family(
    "siglip_text",
    "SigLIP's tower of texts, of transformers",
    TOKENS,
    text_model,
    text_rules,
    types=("siglip",),
    beside=r"head\.|embeddings\.position_ids$",
    prefix="text_model.",
)
