"""Our parameters under the names, and in the layouts, of the PyTorch peer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def mae_parameters(params: Mapping[str, Any], patch: int) -> dict[str, np.ndarray]:
    """The state dict of `torch_mae.MAE` from the parameters of `objectives.mae.MAE` (numpy trees).

    Linear layers are transposed, the patch embedding becomes a convolution's [D, 3, p, p], stacked layers are taken apart.
    """
    encoder, decoder = params["encoder"], params["decoder"]
    kernel = encoder["patch_embed"]["kernel"]  # [p * p * 3, D] in (row, column, channel) order
    found = {
        "patch_embed.weight": kernel.reshape(patch, patch, 3, -1).transpose(3, 2, 0, 1),
        "patch_embed.bias": encoder["patch_embed"]["bias"],
        "cls_token": encoder["class_token"],
        "mask_token": decoder["mask_token"],
    }
    for name, ours in (("decoder_embed", "embed"), ("decoder_pred", "pred")):
        found |= _linear(name, decoder[ours])
    for prefix, tree in (("", encoder["transformer"]), ("decoder_", decoder["transformer"])):
        found |= _norm(f"{prefix}norm", tree["norm"])
        for i in range(len(tree["blocks"]["norm1"]["scale"])):
            found |= _block(f"{prefix}blocks.{i}", _layer(tree["blocks"], i))
    return {k: np.ascontiguousarray(v, np.float32) for k, v in found.items()}


def _layer(tree: Any, index: int) -> Any:
    return {k: _layer(v, index) for k, v in tree.items()} if isinstance(tree, Mapping) else tree[index]


def _block(name: str, tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    width = tree["norm1"]["scale"].shape[0]
    qkv = {"kernel": tree["qkv"]["kernel"].reshape(width, -1), "bias": tree["qkv"]["bias"].reshape(-1)}
    proj = {"kernel": tree["proj"]["kernel"].reshape(-1, width), "bias": tree["proj"]["bias"]}
    found = _norm(f"{name}.norm1", tree["norm1"]) | _norm(f"{name}.norm2", tree["norm2"])
    found |= _linear(f"{name}.attn.qkv", qkv) | _linear(f"{name}.attn.proj", proj)
    return found | _linear(f"{name}.mlp.fc1", tree["fc1"]) | _linear(f"{name}.mlp.fc2", tree["fc2"])


def _linear(name: str, tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {f"{name}.weight": tree["kernel"].T, f"{name}.bias": tree["bias"]}


def _norm(name: str, tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {f"{name}.weight": tree["scale"], f"{name}.bias": tree["bias"]}
