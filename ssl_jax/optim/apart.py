"""Parameters seen apart: each layer of a stack as a parameter of its own, each frozen one from its thaw on.

What optax's transformations keep for all parameters (a count of updates) or compute for one array (norms, factors) would
mix what is stacked for the compiler, or frozen for a while. Here every part has a transformation, and its state, of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ssl_jax.optim.param_rules import CountState, Groups, in_stack, map_named, no_updates_yet, rule_for

Transformation: TypeAlias = optax.GradientTransformation


def apart(label: Callable[[str, Array], str], make: Callable[[str], Transformation]) -> Transformation:
    """`make(label)` for the parameters of each label, blind to the others. `label` is given a path and its array."""

    def parts(tree: Any) -> Transformation:
        labels = map_named(label, tree)
        return optax.partition({name: make(name) for name in sorted(set(jax.tree.leaves(labels)))}, labels)

    return Transformation(
        lambda params: parts(params).init(params),
        lambda updates, state, params: parts(updates).update(updates, state, params),
    )


def by_layer(inner: Transformation) -> Transformation:
    """`inner`, to which every layer of a stack is a parameter of its own: its norms and factors are per layer."""
    over_layers = Transformation(jax.vmap(inner.init), jax.vmap(inner.update))

    def label(name: str, x: Array) -> str:
        return f"layers_{x.shape[0]}" if in_stack(name) else "single"

    return apart(label, lambda name: inner if name == "single" else over_layers)


def from_thaw(inner: Transformation, groups: Groups) -> Transformation:
    """`inner`, whose state for a parameter stays at its start until the `freeze_until` of the rule in `groups`."""

    def label(name: str, x: Array) -> str:
        return str(int(rule_for(groups, name).get("freeze_until", 0)))

    return apart(label, lambda name: _held_until(inner, int(name)))


def _held_until(inner: Transformation, start: int) -> Transformation:
    if not start:
        return inner

    def update(updates: Any, state: tuple, params: Any) -> tuple[Any, tuple]:
        (count,), before = state
        updates, after = inner.update(updates, before, params)
        kept = jax.tree.map(lambda old, new: jnp.where(count >= start, new, old), before, after)
        return updates, (CountState(count + 1), kept)

    return Transformation(lambda params: (no_updates_yet(params), inner.init(params)), update)
