"""BEiT and data2vec (pictures) of transformers, and the files of BEiT's and SimMIM's own code.

All blocks share their relative positions.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop import hf_vit
from ssl_jax.interop.blocks import KINDS, joined, linear, norm, separate
from ssl_jax.interop.family import HALVES, Facts, Family, Model
from ssl_jax.interop.rules import Rule, below, rule
from ssl_jax.interop.transforms import chain, shape, split_last, stack, transpose
from ssl_jax.interop.vit import embedding, heads_of, rgb, stack_of, vit_model

EMBEDDED = "embeddings.patch_embeddings.projection"
LAYER = "encoder.layer.{}."
TABLE = "encoder.relative_position_bias.relative_position_bias_table"
OWN_TABLE = "rel_pos_bias.relative_position_bias_table"
BASE = (
    (r"(^|\.)layers\.(\d+)\.(?=lambda_)", r"\1encoder.layer.\2."),
    *hf_vit.RENAMES,
    (r"(^|\.)shared_position_bias\.", r"\1encoder.relative_position_bias."),
)


def options(facts: Facts, table: str, scale: str, ending: str) -> dict[str, Any]:
    """What the `model` section of these ViTs says beside sizes; names of the table, of a layer's scale, and of the final norm."""
    if table not in facts.tensors:
        raise UserError(
            "no relative positions that all blocks share; files of fine-tuned BEiT and data2vec have some for each block, which "
            "are not built here: name the pretrained weights"
        )
    rows = facts.shape(table)[0] - 3
    side = (isqrt(rows) + 1) // 2
    found = {"positions": "relative", "class_token": True, "pool": "mean", "qkv_bias": "query_value"}
    found |= {"grid": (side, side)} if (2 * side - 1) ** 2 == rows else {}
    scaled = {"layer_scale": float(facts.config.get("layer_scale_init_value", 0.1))} if scale in facts.tensors else {}
    return found | scaled | ({} if ending in facts.tensors else {"final_norm": False})


def layer(model: Model) -> tuple[Rule, ...]:
    """One block of transformers."""
    heads, qkv = model["heads"], tuple(f"attention.attention.{n}" for n in ("query", "key", "value"))
    return (
        *norm("layernorm_before", "norm1"),
        *separate(qkv, "qkv", heads, KINDS[model["qkv_bias"]]),
        *joined("attention.output.dense", "proj", heads),
        rule("lambda_1", "layer_scale1"),
        *norm("layernorm_after", "norm2"),
        *linear("intermediate.dense", "fc1"),
        *linear("output.dense", "fc2"),
        rule("lambda_2", "layer_scale2"),
    )


def hugging_face(prefix: str, name: str, about: str, kind: str, anchors: tuple[str, ...] = ()) -> Family:
    """A family whose names begin with `prefix`; a norm of the tokens belongs to the head for masked pictures."""

    def rules(model: Model) -> tuple[Rule, ...]:
        made = (
            rule("embeddings.cls_token", "class_token"),
            rule("embeddings.mask_token", "mask_token"),
            *embedding(model, EMBEDDED),
            rule(TABLE, "relative/table"),
            *stack_of(model, layer(model), LAYER),
        )
        return (*below(made, theirs=prefix), *norm("layernorm", "transformer/norm"))

    def model(facts: Facts) -> dict[str, Any]:
        first = f"{prefix}{LAYER.format(0)}"
        return vit_model(
            facts, f"{prefix}{EMBEDDED}", f"{prefix}{LAYER}", f"{first}intermediate.dense.weight",
            heads_of(facts, facts.shape(f"{prefix}{EMBEDDED}.weight")[0], "num_attention_heads"),
            norm_epsilon=float(facts.config.get("layer_norm_eps", 1e-12)),
            **options(facts, f"{prefix}{TABLE}", f"{first}lambda_1", "layernorm.weight"),
        )  # fmt: skip

    first = f"{prefix}{LAYER.format(0)}"
    return Family(
        name,
        about,
        (f"{prefix}{EMBEDDED}.weight", f"{first}layernorm_before.weight", f"{first}lambda_1", *anchors),
        model,
        rules,
        types=(kind,),
        renames=((r"^(?=embeddings\.|encoder\.|layers\.|shared_position_bias\.|pooler\.)", prefix), *BASE),
        beside=rf"(lm_head|classifier|{prefix}pooler)\.|.*relative_position_index$",
        pixels=lambda facts: rgb(facts, HALVES),
    )


DATA2VEC = hugging_face(
    "data2vec_vision.",
    "data2vec_vision",
    "data2vec's pretrained encoder of pictures, of transformers",
    "data2vec-vision",
)
BEIT = hugging_face("beit.", "beit", "BEiT, pretrained on masked pictures, of transformers", "beit")


def own_layer(model: Model) -> tuple[Rule, ...]:
    """One block of BEiT's code, which keeps the biases of queries and values apart."""
    heads = model["heads"]
    return (
        *norm("norm1", "norm1"),
        rule("attn.qkv.weight", "qkv/kernel", chain(transpose, split_last(3, heads))),
        rule(("attn.q_bias", "attn.v_bias"), "qkv/bias", chain(split_last(heads), stack(0))),
        *joined("attn.proj", "proj", heads),
        rule("gamma_1", "layer_scale1"),
        *norm("norm2", "norm2"),
        *linear("mlp.fc1", "fc1"),
        *linear("mlp.fc2", "fc2"),
        rule("gamma_2", "layer_scale2"),
    )


def own_rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        rule("cls_token", "class_token"),
        rule("mask_token", "mask_token", shape((1, 1, -1), (1, 1, -1))),
        *embedding(model, "patch_embed.proj"),
        rule(OWN_TABLE, "relative/table"),
        *stack_of(model, own_layer(model), "blocks.{}."),
        *norm("norm", "transformer/norm"),
    )


def own_model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    width = facts.shape("patch_embed.proj.weight")[0]
    heads = heads_of(facts, width, "num_heads", "num_attention_heads")
    return vit_model(
        facts, "patch_embed.proj", "blocks.{}.", "blocks.0.mlp.fc1.weight", heads,
        **options(facts, OWN_TABLE, "blocks.0.gamma_1", "norm.weight"),
    )  # fmt: skip


SIMMIM = Family(
    "simmim",
    "SimMIM's ViT, BEiT and data2vec (pictures) as their own code writes them",
    ("patch_embed.proj.weight", "blocks.0.attn.q_bias", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"),
    own_model,
    own_rules,
    types=("beit_", "beitv2_"),
    beside=r"(lm_head|head|decoder|fc_norm)\.|(pos_embed)$|.*relative_position_index$",
    pixels=rgb,
)
