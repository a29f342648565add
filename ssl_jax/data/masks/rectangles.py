"""Masks of blocks of patches (BEiT, Bao et al. 2021, arXiv 2106.08254, algorithm 1), and slots for what they hide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.errors import UserError

SCHEMES = ("each", "one")


@dataclass(frozen=True)
class BlockMask:
    """Random rectangles until a drawn share of the patches is hidden. Never more than that share.

    Args:
        grid: rows and columns of patches.
        views: global crops of an example.
        ratio: range of the share of hidden patches of a masked crop.
        scheme: `each` masks every crop with probability one half (iBOT); `one` masks exactly one, at random, of each pair of
            crops, so that exactly half of a batch is masked (DINOv2) and an example's mask does not depend on the others.
        smallest: patches of the smallest rectangle.
        aspect: the largest ratio of sides; its inverse is the smallest.
        attempts: rectangles that may fail in a row before a mask is left as it is.
        proposals: rectangles that are tried in all. Of 16,000 masks on each of five grids, 7 x 7 to 37 x 37, none needed more
            than 47. The number is fixed because a loop until the last mask of the batch is done would be a loop until the last
            device is: all would have to agree before each rectangle.
    """

    grid: tuple[int, int]
    views: int = 2
    ratio: tuple[float, float] = (0.1, 0.5)
    scheme: str = "each"
    smallest: int = 4
    aspect: float = 1 / 0.3
    attempts: int = 10
    proposals: int = 64

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise UserError(f"mask scheme={self.scheme!r} is unknown; use one of {', '.join(SCHEMES)}")
        if not 0 <= self.ratio[0] <= self.ratio[1] < 1:
            raise UserError(f"mask_ratio={self.ratio}: (low, high) with 0 <= low <= high < 1")
        if self.most < 1:
            raise UserError(
                f"mask_ratio={self.ratio} hides no patch of a {self.grid[0]}x{self.grid[1]} grid; use a larger ratio"
            )

    @property
    def most(self) -> int:
        """The largest number of hidden patches of a crop."""
        return int(self.grid[0] * self.grid[1] * self.ratio[1])

    @property
    def slots(self) -> int:
        """The largest number of hidden patches of an example, over its crops."""
        return self.most * (self.views if self.scheme == "each" else max(self.views // 2, 1))

    def __call__(self, keys: Array) -> Array:
        """Masks [B, views, N] bool, True where hidden, for the keys [B] of the examples."""
        return jax.vmap(self._example)(keys)

    def _example(self, key: Array) -> Array:
        key_which, key_ratio, key_blocks = jax.random.split(key, 3)
        if self.scheme == "each":
            masked = jax.random.bernoulli(key_which, 0.5, (self.views,))
        else:
            masked = jax.random.permutation(key_which, self.views) < max(self.views // 2, 1)
        share = jax.random.uniform(key_ratio, (self.views,), minval=self.ratio[0], maxval=self.ratio[1])
        count = jnp.where(masked, (share * (self.grid[0] * self.grid[1])).astype(jnp.int32), 0)
        return jax.vmap(self._fill)(jax.random.split(key_blocks, self.views), count)

    def _fill(self, key: Array, count: Array) -> Array:
        """A mask [N] with at most `count` patches hidden, in rectangles."""

        def propose(number: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            mask, failures = state
            block = self._rectangle(jax.random.fold_in(key, number), count - mask.sum())
            new = (block & ~mask).sum()
            fits = (new > 0) & (mask.sum() + new <= count) & (failures < self.attempts)
            return mask | (block & fits), jnp.where(fits, 0, failures + 1)

        start = (jnp.zeros(self.grid, bool), jnp.zeros((), jnp.int32))
        return jax.lax.fori_loop(0, self.proposals, propose, start)[0].reshape(-1)

    def _rectangle(self, key: Array, room: Array) -> Array:
        """A random rectangle [rows, columns] bool of about `smallest` to `room` patches; empty where it does not fit."""
        rows, columns = self.grid
        draw = jax.random.uniform(key, (4,))
        area = self.smallest + draw[0] * (room - self.smallest)
        side = jnp.exp((2 * draw[1] - 1) * math.log(self.aspect) / 2)
        height, width = jnp.round(jnp.sqrt(area) * side), jnp.round(jnp.sqrt(area) / side)
        top, left = jnp.floor(draw[2] * (rows - height + 1)), jnp.floor(draw[3] * (columns - width + 1))
        row, column = jnp.arange(rows)[:, None], jnp.arange(columns)[None]
        inside = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
        return inside & (height < rows) & (width < columns)


class Slots(NamedTuple):
    """Hidden patches of each example in slots of a fixed number: `index` [B, M] into its V * N patches, `valid` [B, M] False
    on empty slots, `weight` [B, M] one over the number of hidden patches of the slot's crop (0 on empty slots)."""

    index: Array  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    valid: Array
    weight: Array


def slots_of(mask: Array, slots: int) -> Slots:
    """The hidden patches of `mask` [B, V, N] in `slots` slots, in order of their place; those beyond are left out."""
    share = mask / jnp.maximum(mask.sum(axis=2, keepdims=True), 1)
    flat, share = (x.reshape(x.shape[0], -1) for x in (mask, share))
    index = jnp.argsort(~flat, axis=1, stable=True)[:, :slots]
    take = lambda x: jnp.take_along_axis(x, index, axis=1)  # noqa: E731
    return Slots(index, take(flat), take(share))
