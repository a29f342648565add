"""What a decoder remembers of the tokens before, so that the next one costs one token's work: the Flax collection `cache`.

A first call that may write the collection (`mutable=["cache"]`) makes it, of the tokens that it is given. `widened` makes room
behind them, and every later call is given one token, which takes the next free slot. Where the collection may not be written,
nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.mesh import STACK, path_name

CACHE = "cache"


def remembers(module: nn.Module) -> bool:
    """Whether `module` keeps what it sees in this call."""
    return module.is_mutable_collection(CACHE) and not module.is_initializing()


def filled(module: nn.Module) -> Array | None:
    """How many slots of `module` are taken, a scalar; None before its first call, and where it does not remember."""
    return module.get_variable(CACHE, "filled") if remembers(module) else None


def remembered(module: nn.Module, new: Array) -> Array:
    """`new` [B, S, ...] behind what `module` has seen: [B, N, ...], of all slots that there are; only `new` if it does not."""
    if not remembers(module):
        return new
    taken, seen = filled(module), new
    if taken is not None:
        before: Array = module.get_variable(CACHE, "seen")
        seen = jax.lax.dynamic_update_slice_in_dim(before, new.astype(before.dtype), taken, 1)
    module.put_variable(CACHE, "seen", seen)
    module.put_variable(CACHE, "filled", jnp.int32(0 if taken is None else taken) + new.shape[1])
    return seen


def made_once(module: nn.Module, name: str, make: Callable[[], Array]) -> Array:
    """What `make` gives at the first call, kept under `name` where `module` remembers."""
    if not remembers(module):
        return make()
    if not module.has_variable(CACHE, name):
        module.put_variable(CACHE, name, make())
    found: Array = module.get_variable(CACHE, name)
    return found


def attend_to_remembered(module: nn.Module, attend: Callable[..., Array]) -> Callable[..., Array]:
    """`attend` to the keys and values that `module` has seen, not only to those of this call."""

    def attend_to_all(query: Array, key: Array, value: Array, *rest: Any) -> Array:
        both = remembered(module, jnp.stack([key, value], axis=2))
        return attend(query, both[:, :, 0], both[:, :, 1], *rest)

    return attend_to_all if remembers(module) else attend


def widened(cache: dict, slots: int) -> dict:
    """A cache with room for so many tokens more, which nothing attends to until they come."""

    def widen(path: tuple, x: Array) -> Array:
        name = path_name(path)
        if not name.endswith("seen"):
            return x
        axis = 2 if f"/{STACK}/" in f"/{name}" else 1  # behind the layers of a stack
        return jnp.pad(x, [(0, slots * (i == axis)) for i in range(x.ndim)])

    return jax.tree_util.tree_map_with_path(widen, cache)
