"""BERT and RoBERTa of transformers."""

from __future__ import annotations

from functools import partial
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop.blocks import joined, linear, norm, separate, table
from ssl_jax.interop.family import Config, Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.text import heads_said, stack_of, text_model
from ssl_jax.interop.transforms import after
from ssl_jax.interop.vit import mlp_named

LAYER = "encoder.layer.{}."
PLACES = "embeddings.position_embeddings.weight"


def layer(heads: int) -> tuple[Rule, ...]:
    """One block."""
    return (
        *separate(tuple(f"attention.self.{n}" for n in ("query", "key", "value")), "qkv", heads),
        *joined("attention.output.dense", "proj", heads),
        *norm("attention.output.LayerNorm", "norm1"),
        *linear("intermediate.dense", "fc1"),
        *linear("output.dense", "fc2"),
        *norm("output.LayerNorm", "norm2"),
    )


def rules(skipped: int, model: Model) -> tuple[Rule, ...]:
    """All pairs of names; the first `skipped` rows of the table of positions are not used."""
    return (
        *table("embeddings.word_embeddings", "tokens"),
        rule(PLACES, "places/embedding", after(skipped)),
        *table("embeddings.token_type_embeddings", "kinds"),
        *norm("embeddings.LayerNorm", "normed"),
        *stack_of(layer(model["heads"]), LAYER, model["depth"]),
    )


def refuse_other_padding(skipped: int, config: Config) -> None:
    """UserError for a RoBERTa whose positions begin behind another word of padding than the published ones'."""
    padding = config.get("pad_token_id", skipped - 1)
    if skipped and padding != skipped - 1:
        raise UserError(
            f"pad_token_id={padding!r} in config.json: RoBERTa's positions begin behind it, and only files with "
            f"{skipped - 1} are read; write {skipped - 1} there if that is what the weights were trained with"
        )


def model(skipped: int, facts: Facts) -> dict[str, Any]:
    """Our `model` section; of a file with two towers, that of its texts. UserError where positions begin elsewhere."""
    facts = facts._replace(config=facts.config.get("text_config") or facts.config)
    refuse_other_padding(skipped, facts.config)
    return text_model(
        facts, "embeddings.word_embeddings.weight", LAYER, heads_said(facts, "num_attention_heads"),
        facts.shape(f"{LAYER.format(0)}intermediate.dense.weight")[0], length=facts.shape(PLACES)[0] - skipped,
        types=facts.shape("embeddings.token_type_embeddings.weight")[0], embedding_norm=True, order="post", pool="class",
        mlp=mlp_named(facts, "hidden_act"), norm_epsilon=float(facts.config.get("layer_norm_eps", 1e-12)),
    )  # fmt: skip


def family(name: str, about: str, skipped: int, types: tuple[str, ...], prefix: str) -> Family:
    """BERT, or what differs from it in where positions begin."""
    return Family(
        name,
        about,
        ("embeddings.word_embeddings.weight", f"{LAYER.format(0)}attention.self.query.weight", PLACES),
        partial(model, skipped),
        partial(rules, skipped),
        types=types,
        renames=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
        beside=r"(pooler|classifier|lm_head|cls)\.|embeddings\.(position_ids|token_type_ids)$",
        prefix=prefix,
    )


BERT = family("bert", "BERT of transformers", 0, ("bert",), "bert.")
ROBERTA = family("roberta", "RoBERTa of transformers", 2, ("roberta", "xlm-roberta", "camembert", "clap"), "roberta.")
