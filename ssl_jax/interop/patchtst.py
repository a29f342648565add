"""PatchTST of transformers."""

from __future__ import annotations

from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.interop.blocks import joined, linear, norm, separate
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, below, rule, stacked
from ssl_jax.interop.vit import heads_of, mlp_named

EMBED, PLACES, LAYERS = (
    "encoder.embedder.input_embedding",
    "encoder.positional_encoder.position_enc",
    "encoder.layers.{}.",
)
BLOCKS = "transformer/blocks/"
# What its config.json may say otherwise than is built here.
ONLY: dict[str, tuple[Any, ...]] = {
    "share_embedding": (True,),
    "channel_attention": (False,),
    "use_cls_token": (False,),
    "scaling": ("std", True),
}


def batch_norm(theirs: str, ours: str, layers: int) -> tuple[Rule, ...]:
    """BatchNorm of every layer, with its statistics."""
    parts = {"weight": f"{BLOCKS}{ours}/scale", "bias": f"{BLOCKS}{ours}/bias"}
    parts |= {f"running_{name}": f"batch_stats/{BLOCKS}{ours}/{name}" for name in ("mean", "var")}
    return tuple(Rule((f"{LAYERS}{theirs}.batchnorm.{name}",), (path,), layers=layers) for name, path in parts.items())


def layer(model: Model) -> tuple[Rule, ...]:
    """One block but its norms, unless these are LayerNorms."""
    heads = model["heads"]
    normed = (*norm("norm_sublayer1", "norm1"), *norm("norm_sublayer3", "norm2"))
    return (
        *separate(tuple(f"self_attn.{n}_proj" for n in "qkv"), "qkv", heads),
        *joined("self_attn.out_proj", "proj", heads),
        *linear("ff.0", "fc1"),
        *linear("ff.3", "fc2"),
        *(() if model.get("norm", "batch") == "batch" else normed),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    blocks = below(stacked(below(layer(model), LAYERS), model["depth"]), ours="transformer/")
    stats = (
        *batch_norm("norm_sublayer1", "norm1", model["depth"]),
        *batch_norm("norm_sublayer3", "norm2", model["depth"]),
    )
    return (
        *linear(EMBED, "embed"),
        rule(PLACES, "positions"),
        *blocks,
        *(stats if model.get("norm", "batch") == "batch" else ()),
    )


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section. UserError for an architecture that is not built here."""
    for key, built in ONLY.items():
        if facts.config.get(key, built[0]) not in built:
            raise UserError(f"config.json: {key}={facts.config[key]!r} is not built here, only {built[0]!r}")
    width, patch = facts.shape(f"{EMBED}.weight")
    stride = int(facts.config.get("patch_stride", patch))
    count, batch = facts.shape(PLACES)[0], "encoder.layers.0.norm_sublayer1.batchnorm.weight" in facts.tensors
    return {
        "target": "ssl_jax.models.patch_tst:PatchTransformer",
        "width": width,
        "depth": facts.count(LAYERS),
        "heads": heads_of(facts, width, "num_attention_heads"),
        "mlp_dim": facts.shape("encoder.layers.0.ff.0.weight")[0],
        "patch": patch,
        "stride": stride,
        "length": int(facts.config.get("context_length", (count - 1) * stride + patch)),
        "norm": "batch" if batch else "layer",
        "order": "pre" if facts.config.get("pre_norm", True) else "post",
        "mlp": mlp_named(facts, "activation_function"),
        "norm_epsilon": float(facts.config.get("norm_eps", 1e-5)),
        "dropout": 0.0,
    }


PATCHTST = Family(
    "patchtst",
    "PatchTST of transformers",
    (f"{EMBED}.weight", PLACES, "encoder.layers.0.self_attn.q_proj.weight"),
    model,
    rules,
    types=("patchtst",),
    beside=r"head\.|.*num_batches_tracked$",
)
