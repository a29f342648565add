"""An encoder as tensors and a config.json, proven by reading them back.

What a format cannot say shows as a difference between the encoder and what its own files say: those that change what it
computes are refused, and how its tokens are pooled, which the library leaves to its user, is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn

from ssl_jax.errors import UserError
from ssl_jax.export.configs import FORMATS, Config, Form, Inputs
from ssl_jax.interop.files import Weights
from ssl_jax.interop.importing import Imported, converted, exported, flat
from ssl_jax.interop.shapes import built
from ssl_jax.models.grid import sides
from ssl_jax.recipe.values import plain

# Options that do not change what an encoder computes of whole inputs when it is not training.
TRAINING = {"dtype", "remat", "unroll", "attention", "initializer", "initial_std", "drop_path", "drop_path_mode"}
TRAINING |= {"drop_path_groups", "rope_rescale", "dropout", "attention_dropout", "grid", "local_norm"}
POOLING = {"pool", "cells"}


class Exported(NamedTuple):
    """Tensors, config.json, the family that they are of, and what a user of the library has to know."""

    tensors: dict[str, np.ndarray]
    config: Config
    family: str
    told: tuple[str, ...]


def converted_to(name: str, module: nn.Module, variables: Mapping[str, Any], inputs: Inputs) -> Exported:
    """An encoder in the format of that name. UserError, with the reason of each family that was tried, where there is none."""
    section = section_of(module, inputs)
    forms = [form for form in FORMATS[name] if isinstance(module, form.kind)]
    reasons = [] if forms else [f"  it holds {', '.join(dict.fromkeys(form.kind.__name__ for form in FORMATS[name]))}"]
    for form in forms:
        try:
            return _tried(form, module, section, variables, inputs)
        except UserError as error:
            reasons.append(f"  {form.family.name}: {str(error).splitlines()[0]}")
    raise UserError(
        f"--format {name} cannot say what this {type(module).__name__} is:\n" + "\n".join(reasons)
        + "\nWrite --format safetensors, which holds every encoder, or --format stablehlo, which computes it"
    )  # fmt: skip


def section_of(module: nn.Module, inputs: Inputs) -> dict[str, Any]:
    """The `model` section that a module would be built by, all of its options said; fixed positions have their `grid`."""
    fields = {key: getattr(module, key) for key in module.__dataclass_fields__ if key not in ("parent", "name")}
    kind = type(module)
    section = {"target": f"{kind.__module__}:{kind.__qualname__}"} | plain(
        {k: v for k, v in fields.items() if v is not None}
    )
    if "patch" in section and inputs.size and "grid" not in section:
        section["grid"] = tuple(n // p for n, p in zip(inputs.size, sides(module.patch), strict=True))
    return section


def _tried(
    form: Form, module: nn.Module, section: Mapping[str, Any], variables: Mapping[str, Any], inputs: Inputs
) -> Exported:
    config = form.config(section, inputs)
    try:
        tensors = exported(form.family, section, variables)
    except (ValueError, LookupError, TypeError) as error:  # a table of names that is of another form
        raise UserError(f"its arrays have no place there ({error})") from error
    found = converted(Weights(tensors, plain(config), f"the {form.family.name} that was written"))
    if found.family is not form.family:
        raise UserError(f"what was written would be read as {found.family.name}")
    _refuse_other_arrays(found, variables)
    differ = differences(module, built(found.model))
    if changed := [key for key in differ if key not in POOLING]:
        raise UserError("it has no words for " + ", ".join(f"model.{key}={differ[key]!r}" for key in changed))
    told = [
        f"features are read by model.{key}={value!r}, which {form.family.name} leaves to you"
        for key, value in differ.items()
    ]
    return Exported(tensors, config, form.family.name, tuple(told))


def differences(module: nn.Module, other: nn.Module) -> dict[str, Any]:
    """Options of `module` that change what it computes, and that `other` has otherwise."""
    if type(module) is not type(other):
        return {"target": type(module).__name__}
    scaled = lambda value: value is not None  # noqa: E731  # how a parameter starts is no part of what it is
    both = lambda key: (getattr(module, key), getattr(other, key))  # noqa: E731
    keys = [key for key in module.__dataclass_fields__ if key not in TRAINING and key not in ("parent", "name")]
    same = lambda key: len({scaled(v) if key == "layer_scale" else v for v in both(key)}) == 1  # noqa: E731
    return {key: getattr(module, key) for key in keys if not same(key)}


def _refuse_other_arrays(found: Imported, variables: Mapping[str, Any]) -> None:
    ours, theirs = flat(variables), flat(found.variables)
    lost = [path for path, x in ours.items() if path not in theirs or not np.array_equal(x, theirs[path])]
    if lost:
        raise UserError(f"it has no place for {', '.join(lost[:3])}")
