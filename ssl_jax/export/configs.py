"""config.json as timm and transformers read it, for an encoder of ours.

A function here says what a model is in that library's words, and refuses what the library has no words for. Whether the words
are enough is not decided here: what was written is read back, and compared (`weights.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import linen as nn

from ssl_jax.errors import UserError
from ssl_jax.interop import bert, dinov2, dinov3, gpt2, hf_vit, llama, own, resnet, timm_vit
from ssl_jax.interop.family import Family, Model
from ssl_jax.interop.vit import ACTIVATIONS
from ssl_jax.models.resnet import ResNet
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.vit import ViT

Config = dict[str, Any]


class Inputs(NamedTuple):
    """What an encoder sees: images of `size` (height, width) and `channels`; `mean` and `std` of pixels; () for none."""

    size: tuple[int, ...] = ()
    channels: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def pixels(self) -> Config:
        """Mean and standard deviation, where they are known."""
        return {"mean": self.mean, "std": self.std} if self.mean else {}


class Form(NamedTuple):
    """A family of a library, the kind of our encoders that it may hold, and how its config.json is written."""

    family: Family
    kind: type[nn.Module]
    config: Callable[[Model, Inputs], Config]


def need(ok: bool, said: str) -> None:
    """UserError that a library cannot say something, unless `ok`."""
    if not ok:
        raise UserError(said)


def timm_vit_config(model: Model, inputs: Inputs) -> Config:
    """timm: an architecture that is changed by `model_args`."""
    need(not model["registers"], "timm keeps positions of registers apart; write --format hf")
    need(model["pool"] == "mean" or model["class_token"], "it has no class token to pool")
    gated = model["mlp"] == "swiglu"
    sizes = {"img_size": inputs.size, "patch_size": model["patch"], "in_chans": inputs.channels, "num_classes": 0}
    sizes |= {"embed_dim": model["width"], "depth": model["depth"], "num_heads": model["heads"]}
    sizes |= {"mlp_ratio": model["mlp_dim"] * (2 if gated else 1) / model["width"]}
    parts = {"class_token": model["class_token"], "global_pool": "token" if model["pool"] == "class" else "avg"}
    parts |= {"fc_norm": False, "qkv_bias": one_bias(model), "init_values": model.get("layer_scale")}
    parts |= {"reg_tokens": 0, "no_embed_class": False} if gated else {}
    return _timm(
        "vit_giant_patch14_reg4_dinov2" if gated else "vit_base_patch16_224", model["width"], inputs, sizes | parts
    )


def timm_resnet_config(model: Model, inputs: Inputs) -> Config:
    """timm's ResNets."""
    need(model["stem"] == "imagenet" and model["width"] == 64, "timm's have a stem of 7 x 7 and 64 channels")
    width = 512 if model["depth"] < 50 else 2048
    return _timm(f"resnet{model['depth']}", width, inputs, {"in_chans": inputs.channels, "num_classes": 0})


def _timm(architecture: str, width: int, inputs: Inputs, arguments: Config) -> Config:
    sized = "img_size" in arguments  # what timm would set, and a convolutional network does not know
    known = {
        "input_size": (inputs.channels, *inputs.size),
        "num_classes": 0,
        "fixed_input_size": sized,
        **inputs.pixels,
    }
    return {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": width,
        "model_args": arguments,
        "pretrained_cfg": known,
    }


def hf_vit_config(model: Model, inputs: Inputs) -> Config:
    """transformers' ViT, and I-JEPA's where there is no class token."""
    need(inputs.size[:1] == inputs.size[1:], "transformers' ViTs see squares")
    kind = ("vit", "ViTModel") if model["class_token"] else ("ijepa", "IJepaModel")
    return (
        _hf(*kind)
        | _sizes(model, inputs)
        | {"intermediate_size": model["mlp_dim"], "hidden_act": _activation(model), "qkv_bias": one_bias(model)}
    )


def dinov2_config(model: Model, inputs: Inputs) -> Config:
    """DINOv2 of transformers, with registers or without."""
    gated, width, hidden = model["mlp"] == "swiglu", model["width"], model["mlp_dim"]
    need(not gated or hidden % 8 == 0, f"mlp_dim={hidden} of SwiGLU is no multiple of 8")
    inner = hidden * 3 // 2 if gated else hidden
    registers = {"num_register_tokens": model["registers"]} if model["registers"] else {}
    kind = ("dinov2_with_registers", "Dinov2WithRegistersModel") if registers else ("dinov2", "Dinov2Model")
    need("layer_scale" in model, "DINOv2 scales the output of its layers")
    ratio = {
        "mlp_ratio": inner // width if inner % width == 0 else inner / width,
        "use_swiglu_ffn": gated,
        "qkv_bias": one_bias(model),
    }
    return (
        _hf(*kind)
        | _sizes(model, inputs)
        | registers
        | ratio
        | {"layerscale_value": model["layer_scale"], "hidden_act": "gelu"}
    )


def dinov3_config(model: Model, inputs: Inputs) -> Config:
    """DINOv3 of transformers."""
    gated, biased = model["mlp"] == "swiglu", model["qkv_bias"]
    need("layer_scale" in model, "DINOv3 scales the output of its layers")
    own_keys = {
        "intermediate_size": model["mlp_dim"],
        "use_gated_mlp": gated,
        "hidden_act": "silu" if gated else "gelu",
    }
    own_keys |= {
        "num_register_tokens": model["registers"],
        "rope_theta": model["rope_base"],
        "layerscale_value": model["layer_scale"],
    }
    own_keys |= {"query_bias": biased != "none", "key_bias": biased == "all", "value_bias": biased != "none"}
    return _hf("dinov3_vit", "DINOv3ViTModel") | _sizes(model, inputs) | own_keys


def bert_config(model: Model, inputs: Inputs) -> Config:
    """BERT of transformers."""
    return _hf("bert", "BertModel") | {
        "vocab_size": model["vocabulary"], "hidden_size": model["width"], "num_hidden_layers": model["depth"],
        "num_attention_heads": model["heads"], "intermediate_size": model["mlp_dim"], "hidden_act": _activation(model),
        "max_position_embeddings": model["length"], "type_vocab_size": model["types"], "layer_norm_eps": model["norm_epsilon"],
    }  # fmt: skip


def gpt2_config(model: Model, inputs: Inputs) -> Config:
    """GPT-2 of transformers."""
    return _hf("gpt2", "GPT2Model") | {
        "vocab_size": model["vocabulary"], "n_embd": model["width"], "n_layer": model["depth"], "n_head": model["heads"],
        "n_inner": model["mlp_dim"], "n_positions": model["length"], "layer_norm_epsilon": model["norm_epsilon"],
        "activation_function": _activation(model),
    }  # fmt: skip


def llama_config(model: Model, inputs: Inputs) -> Config:
    """Llama of transformers."""
    return _hf("llama", "LlamaModel") | {
        "vocab_size": model["vocabulary"], "hidden_size": model["width"], "num_hidden_layers": model["depth"],
        "num_attention_heads": model["heads"], "num_key_value_heads": model.get("kv_heads", model["heads"]),
        "head_dim": model.get("head_width", model["width"] // model["heads"]), "intermediate_size": model["mlp_dim"],
        "max_position_embeddings": model["length"], "rms_norm_eps": model["norm_epsilon"], "rope_theta": model["rope_base"],
        "hidden_act": "silu",
    }  # fmt: skip


def own_config(model: Model, inputs: Inputs) -> Config:
    """Ours: the `model` section itself."""
    return {
        "model_type": own.MODEL_TYPE,
        "model": dict(model),
        "pixels": inputs.pixels,
        "image_size": list(inputs.size),
    }


def preprocessor_config(inputs: Inputs) -> Config:
    """preprocessor_config.json of transformers: how a picture becomes what the encoder sees."""
    size = {"height": inputs.size[0], "width": inputs.size[1]}
    flags = dict.fromkeys(("do_resize", "do_rescale", "do_normalize"), True)
    numbers = {"size": size, "rescale_factor": 1 / 255, "image_mean": inputs.mean, "image_std": inputs.std}
    return {"image_processor_type": "ViTImageProcessor", **flags, **numbers}


def _hf(kind: str, architecture: str) -> Config:
    return {"model_type": kind, "architectures": [architecture], "torch_dtype": "float32"}


def one_bias(model: Model) -> bool:
    """Whether queries, keys and values have biases, where a library has one word for all three."""
    need(model["qkv_bias"] != "query_value", "it has no words for model.qkv_bias='query_value'")
    return bool(model["qkv_bias"] == "all")


def _sizes(model: Model, inputs: Inputs) -> Config:
    return {
        "hidden_size": model["width"], "num_hidden_layers": model["depth"], "num_attention_heads": model["heads"],
        "image_size": inputs.size[0], "patch_size": model["patch"], "num_channels": inputs.channels,
        "layer_norm_eps": model["norm_epsilon"],
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip


def _activation(model: Model) -> str:
    theirs = {ours: name for name, ours in reversed(ACTIVATIONS.items())}
    need(model["mlp"] in theirs, f"it has no words for model.mlp={model['mlp']!r}")
    return theirs[model["mlp"]]


# What --format may say, and the families that are tried in turn.
FORMATS: Mapping[str, tuple[Form, ...]] = {
    "safetensors": (Form(own.OWN, nn.Module, own_config),),
    "timm": (Form(timm_vit.VIT, ViT, timm_vit_config), Form(resnet.RESNET, ResNet, timm_resnet_config)),
    "hf": (
        Form(hf_vit.VIT, ViT, hf_vit_config),
        Form(dinov2.DINOV2, ViT, dinov2_config),
        Form(dinov3.DINOV3, ViT, dinov3_config),
        Form(bert.BERT, TextTransformer, bert_config),
        Form(gpt2.GPT2, TextTransformer, gpt2_config),
        Form(llama.LLAMA, TextTransformer, llama_config),
    ),
}
