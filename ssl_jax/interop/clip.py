"""CLIP's towers as transformers has them. What leads from them to the shared space are heads, and stays beside."""

from __future__ import annotations

from typing import Any

from ssl_jax.interop import siglip
from ssl_jax.interop.blocks import norm
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.siglip import EMBEDDED, PLACES
from ssl_jax.interop.transforms import chain, class_first, patches, shape, without
from ssl_jax.interop.vit import grid_of_table, heads_of, mlp_named, rgb, stack_of, vit_model
from ssl_jax.models.grid import sides

PIXELS = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
LAYER = siglip.LAYER


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names. Its patch embedding has no bias; ours is zero."""
    width = model["width"]
    return (
        rule("embeddings.class_embedding", "class_token", shape((1, 1, width), (width,))),
        rule(PLACES, ("class_position", "positions"), chain(shape((1, -1, width), (-1, width)), class_first)),
        rule(f"{EMBEDDED}.weight", "patch_embed/kernel", patches(*sides(model["patch"]))),
        rule((), "patch_embed/bias", without((width,))),
        *norm("pre_layrnorm", "normed"),
        *stack_of(model, siglip.layer(model["heads"]), LAYER),
        *norm("post_layernorm", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    inner = facts.config.get("vision_config") or facts.config.get("vision") or facts.config
    facts = facts._replace(config=inner)
    section = vit_model(
        facts, EMBEDDED, LAYER, f"{LAYER.format(0)}mlp.fc1.weight",
        heads_of(facts, facts.shape(f"{EMBEDDED}.weight")[0], "num_attention_heads"),
        positions="learned", pool="class", embedding_norm=True, norm_epsilon=float(inner.get("layer_norm_eps", 1e-5)),
        mlp=mlp_named(facts, "hidden_act") if "hidden_act" in inner else "quick_gelu",
    )  # fmt: skip
    return section | grid_of_table(facts, facts.shape(PLACES)[0] - 1, section["patch"], "image_size")


def text_model(facts: Facts) -> dict[str, Any]:
    """Our `model` section of the tower of texts. The last token of a text is the first that ends it, as the paper has it."""
    return siglip.text_options(facts, "quick_gelu", 1e-5, causal=True)


CLIP = Family(
    "clip",
    "CLIP's tower of pictures, of transformers",
    (f"{EMBEDDED}.weight", "embeddings.class_embedding", PLACES, "pre_layrnorm.weight", "post_layernorm.weight"),
    model,
    rules,
    types=("clip",),
    beside=r"embeddings\.position_ids$",
    pixels=lambda facts: rgb(facts, PIXELS),
    prefix="vision_model.",
)

CLIP_TEXT = Family(
    "clip_text",
    "CLIP's tower of texts, of transformers",
    siglip.TOKENS,
    text_model,
    siglip.text_rules,
    absent=("head.",),
    types=("clip",),
    beside=r"embeddings\.position_ids$",
    prefix="text_model.",
)
