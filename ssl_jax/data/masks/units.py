"""Masks of random square units of patches (SimMIM, Xie et al. 2021, arXiv 2111.09886, section 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError


@dataclass(frozen=True)
class UnitMask:
    """`ceil(ratio * units)` of the units of a grid are hidden, each of `unit` patches along every axis. The count is exact.

    SimMIM: units of 32 pixels, which are 2 x 2 patches of 16, and a ratio of 0.6.
    """

    grid: tuple[int, ...]
    ratio: float
    unit: int = 1

    def __post_init__(self) -> None:
        if self.unit < 1 or any(n % self.unit for n in self.grid):
            words = "x".join(map(str, self.grid))
            raise UserError(f"objective.unit={self.unit} does not divide {words} patches; use 1, or a divisor")
        if not 0 < self.hidden < self.units:
            raise UserError(
                f"objective.mask_ratio={self.ratio} hides {self.hidden} of {self.units} units; at least one has to be hidden, "
                "and one seen"
            )

    @property
    def units(self) -> int:
        """How many units there are."""
        return math.prod(n // self.unit for n in self.grid)

    @property
    def hidden(self) -> int:
        """How many of them are hidden."""
        return math.ceil(self.ratio * self.units)

    @property
    def slots(self) -> int:
        """How many patches are hidden."""
        return self.hidden * self.unit ** len(self.grid)

    def __call__(self, keys: Array) -> Array:
        """Masks [B, 1, N] bool, True where hidden, for the keys [B] of the examples."""
        return jax.vmap(self._example)(keys)[:, None]

    def _example(self, key: Array) -> Array:
        chosen = jax.random.permutation(key, jnp.arange(self.units) < self.hidden)
        coarse = chosen.reshape([n // self.unit for n in self.grid])
        for axis in range(len(self.grid)):
            coarse = jnp.repeat(coarse, self.unit, axis=axis)
        return coarse.reshape(-1)
