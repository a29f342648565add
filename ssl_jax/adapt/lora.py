"""Low-rank adaptation: frozen matrices, each with a learned product of two thin ones added to it.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen 2021, "LoRA", arXiv 2106.09685, eq. 3: `W + (alpha / rank) B A`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.adapt.base import Adaptation, Parted, Tree, leaves_of, tree_of
from ssl_jax.adapt.parts import check_regex, none_matches
from ssl_jax.errors import UserError
from ssl_jax.optim.param_rules import in_stack, matches

IN, OUT = "lora_in", "lora_out"


@dataclass(frozen=True)
class LoRA(Adaptation):
    """Kernels in whose path `targets` is found get a product of rank `rank`, times `alpha / rank`; the rest is frozen.

    The first factor starts as normal numbers of variance 1 / inputs, the second at zero, so that the encoder starts as it was.
    Whoever asks for the whole gets plain kernels: evaluation and export see no trace of it.

    Fidelity: queries, keys and values are one kernel here and share the first factor; LoRA's own code adapts queries and values,
    each with its own. The paper draws the first factor from a normal distribution, its code from a uniform one.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: str = r"(qkv|query|key_value|proj)/kernel$"

    def __post_init__(self) -> None:
        check_regex(self.targets, "targets")
        if self.rank < 1:
            raise UserError(f"objective.adapt.rank={self.rank}: must be 1 or more")

    def parted(self, params: Tree, key: Array) -> Parted:
        """Learned are the factors, under the path of their kernel; frozen is the whole encoder."""
        targets = {path: x for path, x in leaves_of(params) if matches(self.targets, path)}
        if not targets:
            raise UserError(f"objective.adapt.targets: {none_matches(self.targets, params)}")
        keys = jax.random.split(key, len(targets))
        factors = {path: self._factors(path, x, k) for (path, x), k in zip(targets.items(), keys, strict=True)}
        return Parted(tree_of(dict(_flat(factors))), params)

    def whole(self, learned: Tree, frozen: Tree) -> Tree:
        """The frozen kernels with the products added to them."""
        factors = dict(leaves_of(learned))
        return tree_of({path: self._merged(path, x, factors) for path, x in leaves_of(frozen)})

    def _factors(self, path: str, kernel: Array, key: Array) -> tuple[Array, Array]:
        layers, rows, columns = matrix_shape(path, kernel.shape)
        if self.rank > min(rows, columns):
            raise UserError(
                f"objective.adapt.rank={self.rank}: {path} is a matrix of {rows} x {columns}; use a lower rank, or other targets"
            )
        first = jax.random.normal(key, (*layers, rows, self.rank), kernel.dtype) / math.sqrt(rows)
        return first, jnp.zeros((*layers, self.rank, columns), kernel.dtype)

    def _merged(self, path: str, kernel: Array, factors: dict[str, Array]) -> Array:
        if f"{path}/{IN}" not in factors:
            return kernel
        product = factors[f"{path}/{IN}"] @ factors[f"{path}/{OUT}"]
        return kernel + (self.alpha / self.rank) * product.reshape(kernel.shape)


def matrix_shape(path: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
    """The layers that a kernel is stacked from, () where it is none, and the rows and columns that it is as a matrix.

    Rows are its inputs: the first axis; of `proj`, heads and their numbers; of a convolution, all but the last.
    UserError for what is no matrix.
    """
    layers, inner = (shape[:1], shape[1:]) if in_stack(path) else ((), shape)
    if len(inner) < 2:
        raise UserError(f"objective.adapt.targets: {path} {list(shape)} is no matrix; name kernels")
    inputs = (2 if path.endswith("proj/kernel") else 1) if layers else len(inner) - 1
    return layers, math.prod(inner[:inputs]), math.prod(inner[inputs:])


def _flat(factors: dict[str, tuple[Array, Array]]) -> Iterator[tuple[str, Array]]:
    for path, (first, second) in factors.items():
        yield from ((f"{path}/{IN}", first), (f"{path}/{OUT}", second))
