"""GPT-2 of transformers, whose linear layers are stored [in, out]."""

from __future__ import annotations

from typing import Any

from ssl_jax.interop.blocks import fused, joined, norm, table
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.text import heads_said, stack_of, text_model
from ssl_jax.interop.transforms import same
from ssl_jax.interop.vit import mlp_named


def layer(heads: int) -> tuple[Rule, ...]:
    """One block."""
    return (
        *norm("ln_1", "norm1"),
        *fused("attn.c_attn", "qkv", heads, same),
        *joined("attn.c_proj", "proj", heads, same),
        *norm("ln_2", "norm2"),
        rule("mlp.c_fc.weight", "fc1/kernel"),
        rule("mlp.c_fc.bias", "fc1/bias"),
        rule("mlp.c_proj.weight", "fc2/kernel"),
        rule("mlp.c_proj.bias", "fc2/bias"),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (
        *table("wte", "tokens"),
        *table("wpe", "places"),
        *stack_of(layer(model["heads"]), "h.{}.", model["depth"]),
        *norm("ln_f", "transformer/norm"),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section."""
    mlp = mlp_named(facts, "activation_function") if "activation_function" in facts.config else "gelu_tanh"
    return text_model(
        facts, "wte.weight", "h.{}.", heads_said(facts, "n_head"), facts.shape("h.0.mlp.c_fc.bias")[0],
        length=facts.shape("wpe.weight")[0], causal=True, mlp=mlp, pool="last",
        norm_epsilon=float(facts.config.get("layer_norm_epsilon", 1e-5)),
    )  # fmt: skip


GPT2 = Family(
    "gpt2",
    "GPT-2 of transformers",
    ("wte.weight", "wpe.weight", "h.0.attn.c_attn.weight", "ln_f.weight"),
    model,
    rules,
    types=("gpt2",),
    beside=r"lm_head\.|h\.\d+\.attn\.(bias|masked_bias)$",
    prefix="transformer.",
)
