"""Which parameters of an encoder are learned, and how they and the frozen ones make up the whole.

Learned and frozen parameters are trees of the same paths as the whole, each with a part of it. So rules of the optimiser, of
sharding and of layer-wise rates find every parameter under the name that it has in the whole; frozen ones have no moments, since
the optimiser never sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

Tree = dict[str, Any]


class Parted(NamedTuple):
    """Parameters in two trees, each with the paths of what it holds."""

    learned: Tree
    frozen: Tree


@dataclass(frozen=True)
class Adaptation:
    """Base of every adaptation. As it stands, all parameters are learned."""

    @property
    def changes_statistics(self) -> bool:
        """Whether BatchNorm learns from the batches: only where all of the encoder does."""
        return False

    def parted(self, params: Tree, key: Array) -> Parted:
        """The parameters of an encoder as learned and frozen ones; `key` is for those that come new.

        Raises UserError where nothing is found that should be learned.
        """
        return Parted(params, {})

    def whole(self, learned: Tree, frozen: Tree) -> Tree:
        """The parameters that the encoder is applied with. Differentiable in `learned`."""
        return joined(frozen, learned)


class Full(Adaptation):
    """All parameters of the encoder are learned."""

    @property
    def changes_statistics(self) -> bool:
        """BatchNorm learns too."""
        return True


@dataclass(frozen=True)
class Frozen(Adaptation):
    """None are: a linear layer on fixed features."""

    def parted(self, params: Tree, key: Array) -> Parted:
        """All of it frozen."""
        return Parted({}, params)


def leaves_of(tree: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """`(path, leaf)` of nested dicts: `transformer/blocks/qkv/kernel`."""
    for name, value in tree.items():
        path = f"{at}/{name}" if at else name
        yield from leaves_of(value, path) if isinstance(value, Mapping) else ((path, value),)


def tree_of(leaves: Mapping[str, Any]) -> Tree:
    """The nested dicts that have these leaves."""
    tree: Tree = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = leaf
    return tree


def split_by(tree: Tree, wanted: Callable[[str], bool]) -> Parted:
    """Learned are the leaves whose path is `wanted`, frozen all others."""
    leaves = dict(leaves_of(tree))
    parts = ({path: x for path, x in leaves.items() if wanted(path) is side} for side in (True, False))
    return Parted(*map(tree_of, parts))


def joined(frozen: Tree, learned: Tree) -> Tree:
    """Both trees in one. Where both hold a path, it is a stack of layers, of which the frozen ones come first."""
    below, above = dict(leaves_of(frozen)), dict(leaves_of(learned))
    stacks = {path: jnp.concatenate([below[path], above[path]]) for path in below.keys() & above.keys()}
    return tree_of(below | above | stacks)
