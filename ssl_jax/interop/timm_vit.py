"""timm's ViT and DeiT, and the files that published code wrote with the same names: MAE, DINO, iBOT, MoCo v3, I-JEPA, DINOv2."""

from __future__ import annotations

from typing import Any

from ssl_jax.interop.blocks import fused, gated_fused, joined, linear, norm
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.vit import embedding, grid_of_table, heads_of, is_sincos, rgb, stack_of, tokens, vit_model

NAMES = ("cls_token", "pos_embed", "reg_token", "mask_token")
RENAMES = (
    (r"(^|\.)register_tokens$", r"\1reg_token"),  # DINOv2's own code
    (r"(^|\.)blocks\.\d{1,2}\.(\d{1,2}\.)", r"\1blocks.\2"),  # in chunks of layers, for FSDP
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
GATED = r"mlp.fc1"


def layer(model: Model) -> tuple[Rule, ...]:
    """One block."""
    heads = model["heads"]
    first = gated_fused if model.get("mlp") == "swiglu" else linear
    return (
        *norm("norm1", "norm1"),
        *fused("attn.qkv", "qkv", heads),
        *joined("attn.proj", "proj", heads),
        rule("ls1.gamma", "layer_scale1"),
        *norm("norm2", "norm2"),
        *first("mlp.fc1", "fc1"),
        *linear("mlp.fc2", "fc2"),
        rule("ls2.gamma", "layer_scale2"),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        *tokens(model, *NAMES),
        *embedding(model, "patch_embed.proj"),
        *stack_of(model, layer(model), "blocks.{}."),
        *norm("norm", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    width, hidden = facts.shape("patch_embed.proj.weight")[0], facts.shape("blocks.0.mlp.fc1.weight")[0]
    section = vit_model(
        facts, "patch_embed.proj", "blocks.{}.", "blocks.0.mlp.fc1.weight", heads_of(facts, width, "num_heads", "heads")
    )
    gate = facts.shape("blocks.0.mlp.fc2.weight")[1] * 2 == hidden
    classed = "cls_token" in facts.tensors
    rows, said = facts.shape("pos_embed")[1], (section["patch"], "img_size", "image_size")
    grid = grid_of_table(facts, rows - classed, *said) or grid_of_table(facts, rows, *said)
    fixed = is_sincos(facts, "pos_embed", width, grid.get("grid"), int(classed))
    return section | {
        "positions": "sincos" if fixed else "learned",
        "class_token": classed,
        "pool": "class" if classed and facts.config.get("global_pool", "token") == "token" else "mean",
        **grid,
        **({"registers": facts.shape("reg_token")[1]} if "reg_token" in facts.tensors else {}),
        **({"mlp": "swiglu", "mlp_dim": hidden // 2} if gate else {}),
        **({"layer_scale": 1e-5} if "blocks.0.ls1.gamma" in facts.tensors else {}),
        **({} if "blocks.0.attn.qkv.bias" in facts.tensors else {"qkv_bias": "none"}),
    }


VIT = Family(
    "timm_vit",
    "ViT and DeiT of timm; MAE, DINO, DINOv2 (registers, SwiGLU), iBOT, MoCo v3 and I-JEPA as their own code writes them",
    ("patch_embed.proj.weight", "pos_embed", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight", "norm.weight"),
    model,
    rules,
    types=("vit_", "deit_"),
    renames=RENAMES,
    beside=r"(head|head_dist|fc_norm|decoder_\w+|decoder_blocks|predictor\w*|projector|momentum_\w*)\.|(dist_token|decoder_pos_embed|mask_token|decoder_mask_token)$",
    pixels=rgb,
)
