"""The audio spectrogram transformer of transformers: the blocks of its ViT, overlapping patches, two tokens before them."""

from __future__ import annotations

from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop.blocks import norm
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.hf_vit import EMBEDDED, LAYER, RENAMES, layer
from ssl_jax.interop.rules import Rule, below, rule, stacked
from ssl_jax.interop.text import heads_said
from ssl_jax.interop.transforms import each, shape
from ssl_jax.interop.vit import mlp_named

TARGET = "ssl_jax.models.ast:AST"
turned = each(lambda x: x.transpose(3, 2, 1, 0), lambda x: x.transpose(3, 2, 1, 0))  # [D, 1, bands, frames] there


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        rule("embeddings.cls_token", "class_token"),
        rule("embeddings.distillation_token", "distillation_token"),
        rule("embeddings.position_embeddings", "positions", shape((-1, model["width"]), (1, -1, model["width"]))),
        rule(f"{EMBEDDED}.weight", "patches/kernel", turned),
        rule(f"{EMBEDDED}.bias", "patches/bias"),
        *below(stacked(below(layer(model), LAYER), model["depth"]), ours="transformer/"),
        *norm("layernorm", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section. Strides and sizes are in no tensor: config.json says them, or they are the published ones."""
    width, channels, patch, _ = facts.shape(f"{EMBEDDED}.weight")
    if channels != 1:
        raise UserError(f"its patches have {channels} channels, and a spectrogram has 1: DeiT is not read")
    first, said = LAYER.format(0), facts.config
    biased = f"{first}attention.attention.query.bias" in facts.tensors
    return {
        "target": TARGET,
        "width": width,
        "depth": facts.count(LAYER),
        "heads": heads_said(facts, "num_attention_heads"),
        "mlp_dim": facts.shape(f"{first}intermediate.dense.weight")[0],
        "patch": patch,
        "strides": (said.get("frequency_stride", 10), said.get("time_stride", 10)),
        "bands": said.get("num_mel_bins", 128),
        "frames": said.get("max_length", 1024),
        "mlp": mlp_named(facts, "hidden_act"),
        "qkv_bias": "all" if biased else "none",
        "norm_epsilon": float(said.get("layer_norm_eps", 1e-12)),
    }


AST = Family(
    "ast",
    "the audio spectrogram transformer of transformers",
    (f"{EMBEDDED}.weight", "embeddings.distillation_token", f"{LAYER.format(0)}attention.attention.query.weight"),
    model,
    rules,
    types=("audio-spectrogram-transformer",),
    renames=RENAMES,
    beside=r"classifier\.",
    prefix="audio_spectrogram_transformer.",
)
