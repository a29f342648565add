"""wav2vec 2.0 and HuBERT of transformers: waves, not pictures."""

from __future__ import annotations

from typing import Any

from ssl_jax.interop.blocks import joined, linear, norm, separate
from ssl_jax.interop.family import Facts, Family, Model
from ssl_jax.interop.rules import Rule, below, rule
from ssl_jax.interop.text import heads_said, stack_of
from ssl_jax.interop.transforms import convolution, each
from ssl_jax.interop.vit import mlp_named

ENCODER = "ssl_jax.models.wave:SequenceEncoder"
FRONT = "ssl_jax.models.wave:WaveConv"
CONTEXT = "ssl_jax.models.wave:FrameTransformer"
CONV = "feature_extractor.conv_layers.{}."
LAYER = "encoder.layers.{}."
POSITIONS = "encoder.pos_conv_embed.conv."
DIRECTION, GAIN = f"{POSITIONS}parametrizations.weight.original1", f"{POSITIONS}parametrizations.weight.original0"
taps_first = each(lambda x: x.transpose(2, 1, 0), lambda x: x.transpose(2, 1, 0))
STRIDES = (5, 2, 2, 2, 2, 2, 2)


def layer(heads: int) -> tuple[Rule, ...]:
    """One block."""
    return (
        *separate(tuple(f"attention.{n}_proj" for n in "qkv"), "qkv", heads),
        *joined("attention.out_proj", "proj", heads),
        *norm("layer_norm", "norm1"),
        *linear("feed_forward.intermediate_dense", "fc1"),
        *linear("feed_forward.output_dense", "fc2"),
        *norm("final_layer_norm", "norm2"),
    )


def front(number: int) -> tuple[Rule, ...]:
    """One convolution and the norm after it."""
    theirs = CONV.format(number)
    return (
        rule(f"{theirs}conv.weight", f"front/conv{number}/kernel", convolution),
        rule(f"{theirs}conv.bias", f"front/conv{number}/bias"),
        *norm(f"{theirs}layer_norm", f"front/norm{number}"),
    )


def context(model: Model) -> tuple[Rule, ...]:
    """The projection, positions and blocks."""
    return (
        *norm("feature_projection.layer_norm", "frame_norm"),
        *linear("feature_projection.projection", "project"),
        rule("masked_spec_embed", "mask_token"),
        rule(DIRECTION, "positions/direction", taps_first),
        rule(GAIN, "positions/gain", taps_first),
        rule(f"{POSITIONS}bias", "positions/bias"),
        *norm("encoder.layer_norm", "entry_norm" if model["order"] == "post" else "transformer/norm"),
        *stack_of(layer(model["heads"]), LAYER, model["depth"]),
    )


def rules(model: Model) -> tuple[Rule, ...]:
    """All pairs of names."""
    made = [r for i in range(len(model["front"]["widths"])) for r in front(i)]
    return (*made, *below(context(model["context"]), ours="context/"))


def model(facts: Facts) -> dict[str, Any]:
    """Our `model` section. Strides are in no tensor: config.json says them, or they are the published ones."""
    layers = range(facts.count(CONV))
    kernels = [facts.shape(f"{CONV.format(i)}conv.weight") for i in layers]
    width, inner, taps = facts.shape(DIRECTION)
    return {
        "target": ENCODER,
        "front": {
            "target": FRONT,
            "widths": tuple(shape[0] for shape in kernels),
            "kernels": tuple(shape[2] for shape in kernels),
            "strides": tuple(facts.config.get("conv_stride", STRIDES)),
            "norm": "layer" if f"{CONV.format(1)}layer_norm.weight" in facts.tensors else "time",
            "bias": f"{CONV.format(0)}conv.bias" in facts.tensors,
            "activation": mlp_named(facts, "feat_extract_activation"),
        },
        "context": {
            "target": CONTEXT,
            "width": width,
            "depth": facts.count(LAYER),
            "heads": heads_said(facts, "num_attention_heads"),
            "mlp_dim": facts.shape(f"{LAYER.format(0)}feed_forward.intermediate_dense.weight")[0],
            "order": "pre" if facts.config.get("do_stable_layer_norm") else "post",
            "kernel": taps,
            "groups": width // inner,
            "norm_epsilon": float(facts.config.get("layer_norm_eps", 1e-5)),
        },
    }


WAV2VEC2 = Family(
    "wav2vec2",
    "wav2vec 2.0 and HuBERT of transformers",
    (
        f"{CONV.format(0)}conv.weight",
        f"{LAYER.format(0)}attention.q_proj.weight",
        "feature_projection.projection.weight",
        DIRECTION,
    ),
    model,
    rules,
    types=("wav2vec2", "hubert"),
    renames=(
        (r"(pos_conv_embed\.conv)\.weight_g$", r"\1.parametrizations.weight.original0"),
        (r"(pos_conv_embed\.conv)\.weight_v$", r"\1.parametrizations.weight.original1"),
    ),
    beside=r"(quantizer|project_hid|project_q|lm_head|projector|classifier|adapter)\b",
    prefix="wav2vec2.",
)
