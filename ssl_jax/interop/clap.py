"""CLAP's tower of sounds (HTS-AT) as transformers has it. Its projection is a head, and stays beside."""

from __future__ import annotations

from math import isqrt
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop.blocks import joined, linear, norm, separate
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, below, rule
from ssl_jax.interop.transforms import patches

TARGET = "ssl_jax.models.htsat:HTSAT"
EMBEDDED = "patch_embed.proj.weight"
TABLE = "attention.self.relative_position_bias_table"


def block(heads: int) -> tuple[Rule, ...]:
    """One block."""
    return (
        *norm("layernorm_before", "norm1"),
        *separate(tuple(f"attention.self.{n}" for n in ("query", "key", "value")), "qkv", heads),
        rule(TABLE, "relative_position_bias_table"),
        *joined("attention.output.dense", "proj", heads),
        *norm("layernorm_after", "norm2"),
        *linear("intermediate.dense", "fc1"),
        *linear("output.dense", "fc2"),
    )


def stage(number: int, depth: int, heads: int) -> tuple[Rule, ...]:
    """The blocks of a stage, and what merges their tokens."""
    theirs, ours = f"layers.{number}.", f"stage{number}_"
    blocks = (below(block(heads), f"{theirs}blocks.{i}.", f"{ours}block{i}/") for i in range(depth))
    merge = (*norm("norm", "norm"), *linear("reduction", "reduce"))
    return (*(each for rules in blocks for each in rules), *below(merge, f"{theirs}downsample.", f"{ours}merge/"))


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    stages = (stage(i, *pair) for i, pair in enumerate(zip(model["depths"], model["heads"], strict=True)))
    return (
        *norm("batch_norm", "mel/bn"),
        rule("batch_norm.running_mean", "batch_stats/mel/bn/mean"),
        rule("batch_norm.running_var", "batch_stats/mel/bn/var"),
        rule(EMBEDDED, "patch_embed/kernel", patches(model["patch"], model["patch"])),
        rule("patch_embed.proj.bias", "patch_embed/bias"),
        *norm("patch_embed.norm", "patch_norm"),
        *(each for rules in stages for each in rules),
        *norm("norm", "norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section. UserError where config.json does not say how many heads the stages have."""
    inner = facts.config.get("audio_config") or facts.config.get("audio") or facts.config
    width, _, patch, _ = facts.shape(EMBEDDED)
    depths = tuple(facts.count(f"layers.{i}.blocks.{{}}.") for i in range(facts.count("layers.{}.")))
    heads = inner.get("num_attention_heads")
    if not isinstance(heads, list | tuple) or len(heads) != len(depths):
        raise UserError(
            f"config.json beside the weights has num_attention_heads={heads!r}; it needs one for each of {len(depths)} stages"
        )
    hidden = facts.shape("layers.0.blocks.0.intermediate.dense.weight")[0]
    return {
        "target": TARGET, "width": width, "depths": depths, "heads": tuple(heads),
        "window": (isqrt(facts.shape(f"layers.0.blocks.0.{TABLE}")[0]) + 1) // 2, "patch": patch,
        "size": inner.get("spec_size", 256), "bands": facts.shape("batch_norm.running_mean")[0], "mlp_ratio": hidden / width,
    }  # fmt: skip


CLAP = Family(
    "clap",
    "CLAP's tower of sounds, of transformers",
    (EMBEDDED, "batch_norm.running_mean", "layers.0.blocks.0.layernorm_before.weight", "norm.weight"),
    model,
    rules,
    types=("clap",),
    beside=r"batch_norm\.num_batches_tracked$|.*relative_position_index$",
    prefix="audio_model.audio_encoder.",
)
