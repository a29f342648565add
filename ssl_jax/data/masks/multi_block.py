"""Masks of several blocks of patches (I-JEPA), drawn from per-example keys, with static shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.errors import UserError

POLICIES = ("uniform_corner", "published", "complement")


class BlockMasks(NamedTuple):
    """I-JEPA's masks: `context` [B, K] and `targets` [B, M, T] patch indices; `*_valid` is False on padding."""

    context: Array
    context_valid: Array
    targets: Array
    targets_valid: Array


@dataclass(frozen=True)
class MultiBlock:
    """I-JEPA's multi-block masking (Assran et al. 2023, arXiv 2301.08243, section 3 and appendix A).

    Block sizes are drawn once per step, places once per example. Shapes are static: a target block is padded to the
    largest block that can be drawn, and the context to `context_tokens` patches (a validity mask marks the padding).
    The grid decides what a block is: a span of a series, a rectangle of a picture, and of a clip a rectangle that all frames
    share (V-JEPA's, Bardes et al. 2024, arXiv 2404.08471).

    Args:
        grid: patches along each axis: steps, rows and columns, or frames, rows and columns.
        target_scale, target_aspect: size (share of the grid) and height/width of a target block. A span has no aspect.
        context_scale: area of the context block, whose aspect is 1.
        targets: how many target blocks, M.
        min_keep: a context with fewer patches gives up excluding target blocks, last first, until it has as many.
        context_tokens: K. More visible patches than K are dropped at random (`random`) or from the bottom (`raster`).
        policy: `uniform_corner` draws the top-left corner from every place where the block fits. `published` leaves out
            the last one, as the authors' code does, so that the last row and column are never a target nor a context.
            `complement` is V-JEPA's: a side of a block may be as long as the grid's, and all that targets leave is context.
        duration: the share of the leading axis of a clip, frames, that a target block lasts (V-JEPA's code: `temporal_scale`).
        context_sizes: if not empty, the context of a whole batch has at most one of these sizes, drawn once per step; K is the
            largest, and the rest is padding.
    """

    grid: tuple[int, ...]
    target_scale: tuple[float, float] = (0.15, 0.2)
    target_aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    targets: int = 4
    min_keep: int = 10
    context_tokens: int = 0  # 0: a third of the grid
    truncation: str = "random"
    policy: str = "uniform_corner"
    context_sizes: tuple[int, ...] = ()
    duration: float = 1.0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UserError(f"mask policy={self.policy!r} is unknown; use {' or '.join(POLICIES)}")
        if self.truncation not in ("random", "raster"):
            raise UserError(f"mask truncation={self.truncation!r} is unknown; use random or raster")
        axes, words = len(self.grid), "x".join(map(str, self.grid))
        if not 1 <= axes <= 3:
            raise UserError(f"block masks are for grids of one to three axes, got {words}")
        if min(self.grid[-2:]) < 3:
            least = "x".join("3" for _ in self.grid[-2:])
            raise UserError(f"block masks need a grid of at least {least} patches, got {words}; use a smaller patch")
        smallest = int(self.patches * self.context_scale[0]) - 1
        if any(size < 1 for size in self.context_sizes):
            raise UserError(f"context_sizes={self.context_sizes}: a context has at least one patch")
        if self.min_keep >= smallest or self.min_keep < 1:
            raise UserError(f"min_keep={self.min_keep} cannot be met on a {words} grid; use 1 to {smallest - 1}")

    @property
    def patches(self) -> int:
        """N, the patches of the grid."""
        return math.prod(self.grid)

    @property
    def context_size(self) -> int:
        """K, the static number of context patches."""
        return (
            max(self.context_sizes)
            if self.context_sizes
            else self.context_tokens or max(self.min_keep, self.patches // 3)
        )

    @property
    def target_size(self) -> int:
        """T, the patches of the largest target block."""
        draws = np.linspace(0.0, 1.0, 1001)
        return max(math.prod(self._size(u, self.target_scale, self.target_aspect, self.duration)) for u in draws)

    def _size(
        self, u: float, scale: tuple[float, float], aspect: tuple[float, float], duration: float = 1.0
    ) -> tuple[int, ...]:
        """The sides of a block, along each axis."""
        # One uniform drives both scale and aspect, as in the authors' code.
        area = int(math.prod(self.grid[-2:]) * (scale[0] + u * (scale[1] - scale[0])))
        ratio = aspect[0] + u * (aspect[1] - aspect[0])
        if len(self.grid) == 1:
            return (self._within(max(area, 1), self.grid[0]),)
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        frames = (max(int(count * duration), 1) for count in self.grid[:-2])
        return *frames, self._within(height, self.grid[-2]), self._within(width, self.grid[-1])

    def _within(self, side: int, limit: int) -> int:
        return min(side, limit if self.policy == "complement" else limit - 1)

    def _sizes(self, scale: tuple[float, float], aspect: tuple[float, float], duration: float = 1.0) -> np.ndarray:
        """Block sizes [256, axes] over an even sweep of the uniform: each as often as its share of it."""
        return np.array([self._size(u, scale, aspect, duration) for u in (np.arange(256) + 0.5) / 256], np.int32)

    def __call__(self, keys: Array, step_key: Array) -> BlockMasks:
        """Masks for per-example `keys` [B] and the `step_key` that the whole batch shares."""
        target_table = jnp.asarray(self._sizes(self.target_scale, self.target_aspect, self.duration))
        whole = np.tile(np.asarray(self.grid, np.int32), (256, 1))
        context_table = jnp.asarray(
            whole if self.policy == "complement" else self._sizes(self.context_scale, (1.0, 1.0))
        )
        draw = jax.random.randint(step_key, (2,), 0, 256)
        one = lambda key: self._example(key, target_table[draw[0]], context_table[draw[1]])  # noqa: E731
        made = jax.vmap(one)(keys)
        if not self.context_sizes:
            return made
        most = jax.random.choice(jax.random.fold_in(step_key, 1), jnp.asarray(self.context_sizes))
        return made._replace(context_valid=made.context_valid & (jnp.arange(self.context_size) < most))

    def _example(self, key: Array, target: Array, context: Array) -> BlockMasks:
        key_target, key_context, key_drop = jax.random.split(key, 3)
        corners = self._corner(key_target, target, self.targets)
        inside = jax.vmap(lambda c: self._inside(c, target))(corners)  # [M, N]
        block = self._inside(self._corner(key_context, context, 1)[0], context)

        # Excluding the first m target blocks, for m = 0..M; the largest m that leaves min_keep patches wins.
        covered = jnp.cumsum(inside, axis=0) > 0
        visible = block & ~jnp.concatenate([jnp.zeros((1, self.patches), bool), covered])
        enough = visible.sum(axis=1) >= self.min_keep
        visible = visible[jnp.max(jnp.where(enough, jnp.arange(self.targets + 1), 0))]

        order = (
            jax.random.uniform(key_drop, (self.patches,)) if self.truncation == "random" else jnp.zeros(self.patches)
        )
        chosen = jnp.argsort(jnp.where(visible, order, 2.0), stable=True)[: self.context_size]
        chosen_valid = visible[chosen]

        place = jnp.arange(self.target_size)
        within = place[:, None] // _strides(target) % target  # [T, axes]
        index = ((corners[:, None] + within) * _strides(jnp.asarray(self.grid))).sum(axis=-1)
        valid = jnp.broadcast_to(place < jnp.prod(target), index.shape)
        return BlockMasks(chosen, chosen_valid, jnp.where(valid, index, 0), valid)

    def _corner(self, key: Array, size: Array, count: int) -> Array:
        """First corners [count, axes] of blocks of `size` [axes] on the grid."""
        places = jnp.asarray(self.grid) - size + (0 if self.policy == "published" else 1)
        return jax.random.randint(key, (count, len(self.grid)), 0, jnp.maximum(places, 1))

    def _inside(self, corner: Array, size: Array) -> Array:
        """[N] bool: which patches lie in the block."""
        place = jnp.indices(self.grid).reshape(len(self.grid), -1).T
        return ((place >= corner) & (place < corner + size)).all(axis=1)


def _strides(size: Array) -> Array:
    """How many places of an array of `size` [axes], in raster order, one step along each axis is."""
    return jnp.append(jnp.cumprod(size[:0:-1])[::-1], 1)
