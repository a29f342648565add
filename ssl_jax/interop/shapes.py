"""Whether the arrays of a file are all of the model that it says it is. Nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
from flax import linen as nn
from flax.traverse_util import flatten_dict

from ssl_jax.errors import UserError
from ssl_jax.interop.family import Model
from ssl_jax.interop.fitting import Shapes
from ssl_jax.models.grid import sides
from ssl_jax.models.htsat import HTSAT
from ssl_jax.models.text import EncoderDecoder, TextTransformer
from ssl_jax.models.vit import ViT
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.slots import MODEL


def built(model: Model) -> nn.Module:
    """The module of a `model` section."""
    options = {key: value for key, value in model.items() if key != "target"}
    return Component(model["target"], options, "model", slot=MODEL).build()


def wanted(module: nn.Module, channels: int) -> Shapes:
    """Shapes of the parameters of an encoder by path; BatchNorm's statistics are below `batch_stats/`."""
    module = (
        module.clone(remat="none") if hasattr(module, "remat") else module
    )  # which changes no shape, and is quicker
    method = "features" if isinstance(module, ViT) else None  # its pooling may have parameters
    made: Mapping[str, Any] = jax.eval_shape(
        partial(module.init, method=method), jax.random.key(0), *inputs(module, channels)
    )
    shapes = flatten_dict(made["params"], sep="/") | {
        f"batch_stats/{path}": x for path, x in flatten_dict(made.get("batch_stats", {}), sep="/").items()
    }
    return {path: tuple(x.shape) for path, x in shapes.items()}


def inputs(module: nn.Module, channels: int) -> tuple[Any, ...]:
    """The smallest inputs that an encoder takes, as shapes."""
    text = (jax.ShapeDtypeStruct((1, 1), "int32"),) * 3
    if isinstance(module, TextTransformer):
        return text
    if isinstance(module, EncoderDecoder):
        return text, text
    if hasattr(module, "smallest"):
        return module.smallest
    axes: tuple[int, ...] = (module.frames, module.bands) if isinstance(module, HTSAT) else (32, 32)
    if isinstance(module, ViT):
        patch = sides(module.patch)
        axes = tuple(n * p for n, p in zip(module.grid or (1,) * len(patch), patch, strict=True))
    return (jax.ShapeDtypeStruct((1, *axes, channels), "float32"),)


def require_whole(found: Shapes, expected: Shapes, where: str) -> None:
    """UserError unless every array of the model is there, in its shape; a mask token may be beside."""
    lines = [
        f"  {path}: {list(found[path]) if path in found else 'absent'}, not {list(shape)}"
        for path, shape in expected.items()
        if found.get(path) != shape
    ] + [f"  {path}: no place in the model" for path in found if path not in expected and path != "mask_token"]
    if lines:
        more = f"\n  and {len(lines) - 8} more" if len(lines) > 8 else ""
        raise UserError(
            f"{where}: tensors are missing, or of other sizes than the model has by the others and by its config.json:\n"
            + "\n".join(lines[:8]) + f"{more}\nThe file is cut or changed, or config.json is of another model; fetch both again"
        )  # fmt: skip
