"""CLIP's towers under the names of OpenAI's code, which open_clip keeps.

Its folders have `open_clip_model.safetensors` and `open_clip_config.json`. Towers that it borrows from timm lie below
`visual.trunk.`, and timm's table reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop import clip, text
from ssl_jax.interop.blocks import joined, linear, norm, table
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.transforms import chain, class_first, patches, shape, split_last, transpose, without
from ssl_jax.interop.vit import HEAD_WIDTH, grid_of_table, rgb, stack_of, vit_model
from ssl_jax.models.grid import sides

LAYER = "transformer.resblocks.{}."
QKV = "attn.in_proj_weight"
HIDDEN = f"{LAYER.format(0)}mlp.c_fc.weight"
PLACES, WORDS = "positional_embedding", "token_embedding.weight"


def layer(heads: int) -> tuple[Rule, ...]:
    """One block."""
    split = split_last(3, heads)
    return (
        *norm("ln_1", "norm1"),
        rule(QKV, "qkv/kernel", chain(transpose, split)),
        rule("attn.in_proj_bias", "qkv/bias", split),
        *joined("attn.out_proj", "proj", heads),
        *norm("ln_2", "norm2"),
        *linear("mlp.c_fc", "fc1"),
        *linear("mlp.c_proj", "fc2"),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names of the tower of pictures. Its patch embedding has no bias; ours is zero."""
    width = model["width"]
    return (
        rule("class_embedding", "class_token", shape((1, 1, width), (width,))),
        rule(PLACES, ("class_position", "positions"), chain(shape((1, -1, width), (-1, width)), class_first)),
        rule("conv1.weight", "patch_embed/kernel", patches(*sides(model["patch"]))),
        rule((), "patch_embed/bias", without((width,))),
        *norm("ln_pre", "normed"),
        *stack_of(model, layer(model["heads"]), LAYER),
        *norm("ln_post", "transformer/norm"),
    )


def text_rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names of the tower of texts."""
    return (
        *table("token_embedding", "tokens"),
        rule(PLACES, "places/embedding"),
        *text.stack_of(layer(model["heads"]), LAYER, model["depth"]),
        *norm("ln_final", "transformer/norm"),
    )


def said(facts: Facts, tower: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """What open_clip_config.json says of a tower, and our options of it. UserError without one."""
    whole = facts.config.get("model_cfg")
    if not isinstance(whole, Mapping) or not isinstance(whole.get(tower), Mapping):
        raise UserError(
            f"nothing beside the weights says {tower}, and tensors do not tell GELU from OpenAI's quick GELU; put an "
            "open_clip_config.json there with model_cfg"
        )
    given = whole[tower]
    tanh = (given.get("act_kwargs") or {}).get("approximate") == "tanh"
    activation = "quick_gelu" if whole.get("quick_gelu") else "gelu_tanh" if tanh else "gelu"
    return given, {"mlp": activation, "norm_epsilon": float((given.get("norm_kwargs") or {}).get("eps", 1e-5))}


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section of the tower of pictures."""
    given, options = said(facts, "vision_cfg")
    heads = facts.shape("conv1.weight")[0] // given.get("head_width", HEAD_WIDTH)
    section = vit_model(
        facts, "conv1", LAYER, HIDDEN, heads, positions="learned", pool="class", embedding_norm=True, **options
    )
    size = facts._replace(config=given)
    return section | grid_of_table(size, facts.shape(PLACES)[0] - 1, section["patch"], "image_size")


def text_model(facts: Facts) -> dict[str, Any]:
    """Our `model` section of the tower of texts. SigLIP's reads padding like words: `augment` needs padding=True."""
    given, options = said(facts, "text_cfg")
    return text.text_model(
        facts, WORDS, LAYER, text.heads_said(facts._replace(config=given), "heads"), facts.shape(HIDDEN)[0],
        length=facts.shape(PLACES)[0], pool="last", causal=not given.get("no_causal_mask", False), **options,
    )  # fmt: skip


def pixels(facts: Facts) -> dict[str, Any]:
    """Mean and standard deviation of pixels."""
    return rgb(facts._replace(config=facts.config.get("preprocess_cfg") or {}), clip.PIXELS)


tower = partial(Family, beside=r"(proj|text_projection(\.\w+)?|attn_mask|logit_scale|logit_bias)$")
OPEN_CLIP = tower(
    "open_clip",
    "CLIP's tower of pictures, of OpenAI and open_clip",
    ("class_embedding", PLACES, "conv1.weight", "ln_pre.weight", "ln_post.weight", LAYER.format(0) + QKV),
    model,
    rules,
    absent=("attn_pool.",),
    pixels=pixels,
    prefix="visual.",
)
OPEN_CLIP_TEXT = tower(
    "open_clip_text",
    "CLIP's and SigLIP's tower of texts, of OpenAI and open_clip",
    (WORDS, PLACES, "ln_final.weight", LAYER.format(0) + QKV),
    text_model,
    text_rules,
    absent=("cls_emb",),
)
