"""V-JEPA 2's encoder and predictor as transformers has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from ssl_jax.interop.blocks import joined, linear, norm, separate
from ssl_jax.interop.family import Config, Facts, Family, Model
from ssl_jax.interop.rules import Rule, Tensors, below, read, rule
from ssl_jax.interop.transforms import order_last, same, shape
from ssl_jax.interop.vit import embedding, heads_of, rgb, stack_of, vit_model
from ssl_jax.models.heads import BlockPredictor

EMBEDDED = "embeddings.patch_embeddings.proj"
PREDICTOR_SIZES = ("mask_tokens", "predictor_embeddings.weight")


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


def predictor_rules(predictor: BlockPredictor) -> tuple[Rule, ...]:
    """All pairs of names of a predictor with several mask tokens; theirs begin with `predictor.`."""
    sizes = {"depth": predictor.depth, "heads": predictor.heads, "width": predictor.width}
    rules = (
        *linear("embeddings.predictor_embeddings", "embed"),
        rule("embeddings.mask_tokens", "mask_token", shape((-1, predictor.width), (-1, 1, 1, predictor.width))),
        *stack_of(sizes, layer(sizes), "layer.{}."),
        *norm("layernorm", "transformer/norm"),
        *linear("proj", "pred"),
    )
    return below(rules, "predictor.")


def predictor_of(tensors: Tensors, config: Config) -> tuple[BlockPredictor, dict[str, Any]]:
    """The predictor in a file of transformers, and its parameters. UserError for tensors that do not go together."""
    tokens, (width, out) = (tensors[f"predictor.embeddings.{name}"].shape for name in PREDICTOR_SIZES)
    predictor = BlockPredictor(
        out, width, config["pred_num_hidden_layers"], config["pred_num_attention_heads"],
        tensors["predictor.layer.0.mlp.fc1.bias"].shape[0], mask_tokens=tokens[0], positions="rope", rope_tiled=True,
    )  # fmt: skip
    return predictor, unflatten_dict(read(predictor_rules(predictor), tensors).arrays, sep="/")


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
