"""iGPT of transformers: GPT-2's names, RMS norms, and a palette where the file has one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssl_jax.interop import gpt2
from ssl_jax.interop.family import HALVES, Config, Facts, Family, Model
from ssl_jax.interop.rules import Rule, rule
from ssl_jax.interop.text import heads_said, text_model
from ssl_jax.interop.vit import mlp_named

PALETTE = "clusters"  # what transformers' image processor calls it, which keeps it in preprocessor_config.json


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    return (rule(PALETTE, "palette"), *gpt2.rules(model))


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section: of pictures with a palette, else of a transformer on the numbers of colours."""
    found = PALETTE in facts.tensors
    pixels = {"target": "ssl_jax.models.pixels:PixelTransformer", "channels": facts.shape(PALETTE)[1]} if found else {}
    mlp = mlp_named(facts, "activation_function") if "activation_function" in facts.config else "quick_gelu"
    section = text_model(
        facts, "wte.weight", "h.{}.", heads_said(facts, "n_head"), facts.shape("h.0.mlp.c_fc.weight")[1],
        length=facts.shape("wpe.weight")[0], causal=True, mlp=mlp, norm="rms",
        bias="h.0.mlp.c_fc.bias" in facts.tensors, norm_epsilon=float(facts.config.get("layer_norm_epsilon", 1e-5)),
    )  # fmt: skip
    return section | pixels


def palette(config: Config) -> dict[str, np.ndarray]:
    """The palette of a preprocessor_config.json, where there is one."""
    found = np.asarray(config.get(PALETTE, ()), np.float32)
    return {PALETTE: found} if found.ndim == 2 else {}


IGPT = Family(
    "igpt",
    "iGPT (ImageGPT) of transformers",
    ("wte.weight", "wpe.weight", "h.0.attn.c_attn.weight", "ln_f.weight"),
    model,
    rules,
    absent=("ln_f.bias", "h.0.ln_1.bias"),
    types=("imagegpt",),
    beside=r"lm_head\.|h\.\d+\.attn\.(bias|masked_bias)$",
    pixels=lambda facts: HALVES,
    prefix="transformer.",
    held=palette,
)
