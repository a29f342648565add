"""What is exported is what comes back: arrays to the bit, options that matter, and a refusal for what a format cannot say."""

import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.export.configs import Inputs, preprocessor_config
from ssl_jax.export.weights import POOLING, converted_to, differences
from ssl_jax.interop.files import Weights
from ssl_jax.interop.importing import converted, flat, nested
from ssl_jax.interop.shapes import built, wanted
from ssl_jax.models.conv import ConvNet
from ssl_jax.models.resnet import ResNet
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.vit import ViT

IMAGES = Inputs((16, 16), 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.1))
SIZES = {"width": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
VIT = {**SIZES, "patch": 4, "grid": (4, 4)}
LEARNED = {**VIT, "positions": "learned", "pool": "class"}
TEXT = {**SIZES, "vocabulary": 50, "length": 12}
BERT = {**TEXT, "types": 2, "embedding_norm": True, "order": "post", "pool": "class", "norm_epsilon": 1e-12}
LLAMA = {
    **TEXT,
    "positions": "rope",
    "causal": True,
    "norm": "rms",
    "bias": False,
    "mlp": "swiglu",
    "pool": "last",
    "kv_heads": 1,
}
DINOV3 = {
    **VIT,
    "grid": None,
    "positions": "rope",
    "registers": 4,
    "layer_scale": 0.1,
    "pool": "class",
    "norm_epsilon": 1e-5,
}

KEPT = {
    "mae": ("timm", ViT(**VIT), "timm_vit"),
    "dino": ("timm", ViT(**LEARNED), "timm_vit"),
    "no class token": ("timm", ViT(**VIT, class_token=False), "timm_vit"),
    "gated": ("timm", ViT(**LEARNED, mlp="swiglu", layer_scale=1.0), "timm_vit"),
    "resnet": ("timm", ResNet(18), "resnet"),
    "vit": ("hf", ViT(**LEARNED), "hf_vit"),
    "no classes": ("hf", ViT(**VIT, class_token=False), "hf_vit"),
    "dinov2": ("hf", ViT(**LEARNED, layer_scale=0.1), "dinov2"),
    "registers": ("hf", ViT(**LEARNED, layer_scale=0.1, registers=4), "dinov2"),
    "swiglu": ("hf", ViT(**LEARNED, layer_scale=0.1, mlp="swiglu"), "dinov2"),
    "dinov3": ("hf", ViT(**DINOV3, qkv_bias="query_value"), "dinov3"),
    "bert": ("hf", TextTransformer(**BERT), "bert"),
    "gpt2": ("hf", TextTransformer(**TEXT, causal=True, mlp="gelu_tanh", pool="last"), "gpt2"),
    "llama": ("hf", TextTransformer(**LLAMA), "llama"),
    "ours": ("safetensors", ConvNet(), "ssl_jax"),
    "cells": ("safetensors", ViT(**VIT, cells=2), "ssl_jax"),
}  # fmt: skip


def inputs_of(module):
    return Inputs() if isinstance(module, TextTransformer) else IMAGES


def drawn(module):
    rng = np.random.default_rng(0)
    return nested({path: rng.normal(size=shape).astype(np.float32) for path, shape in wanted(module, 3).items()})


@pytest.mark.parametrize("case", KEPT)
def test_what_is_read_back_is_what_was_written_to_the_bit(case):
    format, module, family = KEPT[case]
    variables = drawn(module)
    made = converted_to(format, module, variables, inputs_of(module))
    beside = preprocessor_config(IMAGES) if format == "hf" else {}
    found = converted(Weights(made.tensors, beside | made.config, "written"))
    assert (made.family, found.family.name) == (family, family)
    ours, theirs = flat(variables), flat(found.variables)
    assert ours.keys() <= theirs.keys()
    for path, x in ours.items():
        np.testing.assert_array_equal(x, theirs[path], err_msg=path)
    assert set(differences(module, built(found.model))) <= POOLING
    if inputs_of(module).size:
        assert found.pixels == {"mean": IMAGES.mean, "std": IMAGES.std}


def test_the_forward_pass_is_the_same():
    module = ViT(**LEARNED, layer_scale=0.1, registers=2)
    variables, image = drawn(module), np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    made = converted_to("hf", module, variables, IMAGES)
    found = converted(Weights(made.tensors, made.config, "written"))
    np.testing.assert_array_equal(module.apply(variables, image), built(found.model).apply(found.variables, image))


def test_pooling_is_told():
    cells = converted_to("timm", ViT(**VIT, cells=2), drawn(ViT(**VIT)), IMAGES)
    assert cells.told == ("features are read by model.cells=2, which timm_vit leaves to you",)
    mean = ViT(**LEARNED | {"pool": "mean"})
    assert converted_to("hf", mean, drawn(mean), IMAGES).told == (
        "features are read by model.pool='mean', which hf_vit leaves to you",
    )


REFUSED = {
    "registers": ("timm", ViT(**LEARNED, registers=2), "timm keeps positions of registers apart; write --format hf"),
    "epsilon": ("timm", ViT(**LEARNED, norm_epsilon=1e-5), "it has no words for model.norm_epsilon=1e-05"),
    "resnet": ("hf", ResNet(18), "it holds ViT, TextTransformer"),
    "stem": ("timm", ResNet(18, "small"), "timm's have a stem of 7 x 7"),
    "rope": ("hf", ViT(**DINOV3, rope_places="indices"), "it has no words for model.rope_places='indices'"),
    "order": ("hf", TextTransformer(**BERT | {"order": "pre"}), "bert: the other model has no place for transformer/norm"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_format_cannot_say_is_refused_with_a_way_on(case):
    format, module, message = REFUSED[case]
    with pytest.raises(UserError) as error:
        converted_to(format, module, drawn(module), inputs_of(module))
    assert message in str(error.value)
    assert "Write --format safetensors, which holds every encoder" in str(error.value)
