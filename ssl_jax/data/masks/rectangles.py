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

    On the grid of a series they are spans; on that of a clip all frames share them.

    Args:
        grid: patches along each axis: steps, rows and columns, or frames, rows and columns.
        views: global crops of an example.
        ratio: range of the share of hidden patches of a masked crop.
        scheme: `each` masks every crop with probability one half (iBOT); `one` masks exactly one, at random, of each pair of
            crops, so that exactly half of a batch is masked (DINOv2) and an example's mask does not depend on the others.
        smallest: patches of the smallest rectangle, of one frame.
        aspect: the largest ratio of sides; its inverse is the smallest. A span has none.
        attempts: rectangles that may fail in a row before a mask is left as it is.
        proposals: rectangles that are tried in all. Of 16,000 masks on each of five grids, 7 x 7 to 37 x 37, none needed more
            than 47. The number is fixed because a loop until the last mask of the batch is done would be a loop until the last
            device is: all would have to agree before each rectangle.
    """

    grid: tuple[int, ...]
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
                f"mask_ratio={self.ratio} hides no patch of a {'x'.join(map(str, self.grid))} grid; use a larger ratio"
            )
        if not 1 <= len(self.grid) <= 3:
            raise UserError(f"block masks are for grids of one to three axes, got {'x'.join(map(str, self.grid))}")

    @property
    def frames(self) -> int:
        """Over how many patches of the first axis every rectangle goes: all of a clip's."""
        return math.prod(self.grid[:-2])

    @property
    def most(self) -> int:
        """The largest number of hidden patches of a crop."""
        return int(math.prod(self.grid) * self.ratio[1])

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
        count = jnp.where(masked, (share * math.prod(self.grid)).astype(jnp.int32), 0)
        return jax.vmap(self._fill)(jax.random.split(key_blocks, self.views), count)

    def _fill(self, key: Array, count: Array) -> Array:
        """A mask [N] with at most `count` patches hidden, in rectangles."""

        def propose(number: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            mask, failures = state
            block = self._block(jax.random.fold_in(key, number), count - mask.sum())
            new = (block & ~mask).sum()
            fits = (new > 0) & (mask.sum() + new <= count) & (failures < self.attempts)
            return mask | (block & fits), jnp.where(fits, 0, failures + 1)

        start = (jnp.zeros(self.grid, bool), jnp.zeros((), jnp.int32))
        return jax.lax.fori_loop(0, self.proposals, propose, start)[0].reshape(-1)

    def _block(self, key: Array, room: Array) -> Array:
        """A random block of the grid, bool, of about `smallest` to `room` patches; empty where it does not fit."""
        draw = jax.random.uniform(key, (4,))
        area = self.smallest + draw[0] * (room / self.frames - self.smallest)
        size = jnp.stack(self._sides(area, (2 * draw[1] - 1) * math.log(self.aspect) / 2))
        plane = jnp.asarray(self.grid[-2:])
        corner = jnp.floor(draw[2 : 2 + len(plane)] * (plane - size + 1))
        place = jnp.moveaxis(jnp.indices(self.grid[-2:]), 0, -1)
        inside = ((place >= corner) & (place < corner + size)).all(axis=-1) & (size < plane).all()
        return jnp.broadcast_to(inside, self.grid)

    def _sides(self, area: Array, log_side: Array) -> tuple[Array, ...]:
        """Sides of a block of `area` patches of one frame."""
        if len(self.grid) == 1:
            return (jnp.round(area),)
        side = jnp.exp(log_side)
        return jnp.round(jnp.sqrt(area) * side), jnp.round(jnp.sqrt(area) / side)


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


def one_view(grid: tuple[int, ...], ratio: float, smallest: int) -> BlockMask:
    """BEiT's masks [B, 1, N] of every picture: blocks that hide at most `ratio` of its patches, rounded, and seldom fewer."""
    count = round(ratio * math.prod(grid))
    share = (count + 0.5) / math.prod(grid)  # so that no rounding takes one off
    return BlockMask(grid, 1, (share, share), "one", smallest)
