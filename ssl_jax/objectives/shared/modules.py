"""The Linen modules of an objective, wherever they stand: in its fields, by name, or inside another module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import jax.numpy as jnp
from flax import linen as nn

from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Objective

T = TypeVar("T")
LINEN = ("parent", "name")  # fields that say where a module hangs


def modules_in(value: Any) -> Iterator[nn.Module]:
    """The modules that `value` is or holds, at any depth; what holds another comes first."""
    if isinstance(value, nn.Module):
        yield value
    for _, part in _parts(value):
        yield from modules_in(part)


def with_modules(value: T, change: Callable[[nn.Module], nn.Module]) -> T:
    """`value` with `change` made to every module that it is or holds, at any depth; inner ones first."""
    changed = {key: with_modules(part, change) for key, part in _parts(value)}
    whole = _with_parts(value, changed) if any(changed[key] is not part for key, part in _parts(value)) else value
    return cast(T, change(whole)) if isinstance(whole, nn.Module) else whole


def options_set(module: nn.Module, **options: Any) -> nn.Module:
    """`module` with those of the `options` that it has and that are not None there; itself where nothing changes."""
    new = {key: value for key, value in options.items() if getattr(module, key, value) != value and has(module, key)}
    return module.clone(**new) if new else module


def has(module: nn.Module, option: str) -> bool:
    """Whether `option` is a field of the module and set."""
    return any(f.name == option for f in fields(module)) and getattr(module, option) is not None


def computing_in(objective: Objective, dtype: str) -> Objective:
    """The objective with every module computing in `dtype`; UserError where one of its `modules` does not follow."""
    made = with_modules(objective, lambda module: options_set(module, dtype=dtype))
    for name, module in made.modules.items():
        for part in modules_in(module):
            if has(part, "dtype") and jnp.dtype(part.dtype) != jnp.dtype(dtype):
                raise UserError(
                    f"{type(objective).__name__}: the module '{name}' computes in {part.dtype} whatever the encoder "
                    f"computes in, so that it cannot be looked at in {dtype}; give it dtype=self.encoder.dtype"
                )
    return made


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """What `value` holds, by field, key or place."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple | list):
        return list(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in fields(value) if f.init and f.name not in LINEN]
    return []


def _with_parts(value: Any, parts: dict[Any, Any]) -> Any:
    """`value` holding `parts` instead."""
    if isinstance(value, nn.Module):
        return value.clone(**parts)
    kind: Any = type(value)
    if isinstance(value, Mapping):
        return kind(parts)
    if isinstance(value, tuple | list):
        return kind(*parts.values()) if hasattr(value, "_fields") else kind(parts.values())
    return replace(value, **{key: part for key, part in parts.items() if getattr(value, key) is not part})
