"""V-JEPA 2's encoder as transformers has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssl_jax.interop.blocks import joined, linear, norm, separate
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule
from ssl_jax.interop.transforms import order_last, same
from ssl_jax.interop.vit import embedding, heads_of, rgb, stack_of, vit_model

EMBEDDED = "embeddings.patch_embeddings.proj"


def layer(model: Model) -> tuple[Rule, ...]:
    """One block. Their rotary positions turn numbers 2i and 2i + 1 of a head, ours i and i + d / 2."""
    heads = model["heads"]
    halves = order_last(np.arange(model["width"] // heads).reshape(-1, 2).T.reshape(-1))
    qkv = tuple(f"attention.{n}" for n in ("query", "key", "value"))
    return (
        *norm("norm1", "norm1"),
        *separate(qkv, "qkv", heads, (0, 1, 2), halves, halves, same),
        *joined("attention.proj", "proj", heads),
        *norm("norm2", "norm2"),
        *linear("mlp.fc1", "fc1"),
        *linear("mlp.fc2", "fc2"),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        *embedding(model, EMBEDDED),
        *stack_of(model, layer(model), "layer.{}."),
        *norm("layernorm", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    return vit_model(
        facts, EMBEDDED, "layer.{}.", "layer.0.mlp.fc1.weight",
        heads_of(facts, facts.shape(f"{EMBEDDED}.weight")[0], "num_attention_heads"),
        positions="rope", class_token=False, rope_base=10000.0, rope_places="indices", rope_tiled=True,
        norm_epsilon=float(facts.config.get("layer_norm_eps", 1e-6)),
    )  # fmt: skip


VJEPA2 = Family(
    "vjepa2",
    "V-JEPA 2's encoder of transformers",
    (f"{EMBEDDED}.weight", "layer.0.attention.query.weight", "layernorm.weight"),
    model,
    rules,
    types=("vjepa2",),
    beside=r"(classifier|pooler|predictor)\.",
    pixels=rgb,
    prefix="encoder.",
)
