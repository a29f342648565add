"""What tables of vision transformers share: our `model` section from the shapes of a file, and where the tokens lie."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.interop.family import IMAGENET, Facts, Model
from ssl_jax.interop.rules import Rule, below, rule, stacked
from ssl_jax.interop.transforms import class_or_none, constant, patches, shape
from ssl_jax.models.grid import sides, sincos

TARGET = "ssl_jax.models.vit:ViT"
HEAD_WIDTH = 64  # of published ViTs, where a file does not say how many heads it has


def heads_of(facts: Facts, width: int, *keys: str) -> int:
    """How many heads: a key of config.json, or one for each 64 numbers. UserError where neither is to be had."""
    heads = next((facts.config[key] for key in keys if key in facts.config), None)
    if heads is None and width % HEAD_WIDTH == 0:
        heads = width // HEAD_WIDTH
    if not isinstance(heads, int) or not 0 < heads <= width or width % heads:
        raise UserError(
            f"the number of heads is not known: {heads!r} for width {width}; put a config.json beside the weights that has "
            f"{keys[0]!r}"
        )
    return heads


def vit_model(facts: Facts, embed: str, layers: str, hidden: str, heads: int, **options: Any) -> dict[str, Any]:
    """The `model` section of a ViT: sizes from the shapes of its patch embedding and of the first layer of an MLP."""
    width, _, *window = facts.shape(f"{embed}.weight")
    patch = window[0] if len(set(window)) == 1 and len(window) == 2 else tuple(window)
    sizes = {
        "width": width,
        "depth": facts.count(layers),
        "heads": heads,
        "mlp_dim": facts.shape(hidden)[0],
        "patch": patch,
    }
    return {"target": TARGET, **sizes, **options}


ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}


def mlp_named(facts: Facts, *keys: str) -> str:
    """Our name of the activation that config.json names; GELU where it says nothing. UserError for one that is not built here."""
    name = next((facts.config[key] for key in keys if key in facts.config), "gelu")
    if name not in ACTIVATIONS:
        raise UserError(f"{keys[0]}={name!r} is not built here; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def grid_of_table(facts: Facts, rows: int, patch: Any, *keys: str) -> dict[str, Any]:
    """The option `grid` of learned positions: the image size of config.json, or a square; nothing where neither fits."""
    size = next((facts.config[key] for key in keys if key in facts.config), None)
    by = sides(patch)
    sizes = tuple(size) if isinstance(size, list | tuple) else (size,) * len(by)
    whole = [n for n in sizes if isinstance(n, int)]
    if len(whole) == len(by):
        grid = tuple(n // p for n, p in zip(whole, by, strict=True))
        if np.prod(grid) == rows:
            return {"grid": grid}
    return {"grid": (isqrt(rows),) * 2} if len(by) == 2 and isqrt(rows) ** 2 == rows else {}


def is_sincos(facts: Facts, name: str, width: int, grid: Any, first: int = 1) -> bool:
    """Whether a table [1, first + N, D] is the fixed one of MAE and I-JEPA."""
    found = np.asarray(facts.tensors[name])
    if not grid or found.ndim != 3 or width % 4 or found.shape[1] != first + np.prod(grid):
        return False
    return bool(np.allclose(found[0], sincos_table(width, grid, first)[0], atol=1e-5))


def sincos_table(width: int, grid: Any, first: int) -> np.ndarray:
    """The fixed table [1, first + N, D], zeros for the class token."""
    return np.concatenate([np.zeros((first, width)), sincos(width, tuple(grid))])[None].astype(np.float32)


def tokens(
    model: Model, class_token: str, positions: str, registers: str = "", mask_token: str = ""
) -> tuple[Rule, ...]:
    """The class token, registers and mask token, and the table of positions, whose first row is the class token's."""
    prefixed = bool(model.get("class_token", True))
    made = [rule(class_token, "class_token")] if prefixed else []
    made += [rule(registers, "registers")] if registers else []
    made += [rule(mask_token, "mask_token", shape((1, 1, -1), (1, -1)))] if mask_token else []
    if model.get("positions") == "learned":
        made += [
            rule(positions, ("class_position", "positions"), class_or_none(int(np.prod(model.get("grid", 0)))))
            if prefixed
            else rule(positions, "positions", shape((-1, model["width"]), (1, -1, model["width"])))
        ]
    elif model.get("positions", "sincos") == "sincos" and "grid" in model:
        made += [rule(positions, (), constant(lambda: sincos_table(model["width"], model["grid"], int(prefixed))))]
    return tuple(made)


def embedding(model: Model, theirs: str) -> tuple[Rule, ...]:
    """The patch embedding."""
    return (
        rule(f"{theirs}.weight", "patch_embed/kernel", patches(*sides(model["patch"]))),
        rule(f"{theirs}.bias", "patch_embed/bias"),
    )


def stack_of(model: Model, layer: tuple[Rule, ...], layers: str) -> tuple[Rule, ...]:
    """The rules of a block, for all blocks, whose names begin with `layers` and the number of the layer."""
    return below(stacked(below(layer, layers), model["depth"]), ours="transformer/")


def rgb(facts: Facts, pixels: Mapping[str, Any] = IMAGENET) -> dict[str, Any]:
    """Mean and standard deviation of pixels: what config.json or preprocessor_config.json says, or the family's."""
    given = facts.config.get("pretrained_cfg") or facts.config
    names = {"mean": "image_mean", "std": "image_std"}
    return {key: tuple(given.get(name) or given.get(key) or pixels[key]) for key, name in names.items()}
