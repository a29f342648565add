"""Masks of blocks that all frames of a clip share, or some (V-JEPA), drawn from per-example keys, with static shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.masks.multi_block import BlockMasks, MultiBlock
from ssl_jax.errors import UserError


@dataclass(frozen=True)
class TubeBlocks:
    """V-JEPA's masks: the union of a few blocks is hidden in every frame, and the rest is seen (arXiv 2404.08471, section 3.2).

    There is room for a share of a frame's patches. Of more than that, as many are kept as there is room for, at random, the
    same in all frames; fewer are padded. The shares are about what the published code has after it cut all masks of a batch
    to the smallest. A block that would leave nothing to see is not hidden. With a `duration` below 1 blocks begin at any frame,
    and shares are of all of a clip.

    Args:
        grid: patches along each axis: frames, rows and columns.
        blocks: how many; scale: the share of a frame that each covers; aspect: the range of its height over its width.
        seen: room for the context, a share of the grid; hidden: room for what is predicted.
        duration: the share of the frames that a block lasts. What it hides is seen before or after, at another stage of its
            motion (the published code has it as `temporal_scale`, and its recipes leave it at 1).
    """

    grid: tuple[int, ...]
    blocks: int = 8
    scale: float = 0.15
    aspect: tuple[float, float] = (0.75, 1.5)
    seen: float = 0.28
    hidden: float = 0.51
    duration: float = 1.0

    def __post_init__(self) -> None:
        for name in ("scale", "seen", "hidden"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"masks: {name}={getattr(self, name)}: a share of the patches above 0 and below 1")
        if self.blocks < 1:
            raise UserError(f"masks: blocks={self.blocks}: use 1 or more")
        if not 0 < self.duration <= 1:
            raise UserError(f"masks: duration={self.duration}: a share of the frames above 0 and at most 1")
        if self.drawing.target_size >= self.drawing.patches:
            covered = "x".join(map(str, self._drawn))
            raise UserError(f"masks: a block of scale={self.scale} covers all of {covered}; use a smaller one")

    @property
    def drawing(self) -> MultiBlock:
        """The blocks of one frame, or of all where they are shorter than a clip."""
        scale, room = (self.scale, self.scale), self._room(self.seen)
        blocks: dict[str, Any] = {"targets": self.blocks, "min_keep": 1, "context_tokens": room, "policy": "complement"}
        return MultiBlock(self._drawn, scale, self.aspect, duration=self.duration, **blocks)

    def __call__(self, keys: Array, step_key: Array) -> BlockMasks:
        """Masks for per-example `keys` [B] and the `step_key` that the whole batch shares: one union of blocks [B, 1, M]."""
        found = self.drawing(keys, step_key)
        rows = jnp.arange(len(keys))[:, None]
        blocks, inside = (x.reshape(len(keys), -1) for x in (found.targets, found.targets_valid))
        hidden = jnp.zeros((len(keys), self.drawing.patches), bool).at[rows, blocks].max(inside)
        hidden = hidden.at[rows, found.context].min(~found.context_valid)
        noise = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), hidden.shape[1:]))(keys)
        index = jnp.argsort(jnp.where(hidden, noise, 2.0), axis=1, stable=True)[:, : self._room(self.hidden)]
        targets = (self._tubes(index), self._valid(jnp.take_along_axis(hidden, index, axis=1)))
        seen = (self._tubes(found.context), self._valid(found.context_valid))
        return BlockMasks(*seen, *(x[:, None] for x in targets))

    @property
    def _drawn(self) -> tuple[int, ...]:
        """The grid on which blocks are drawn, of a frame if they last for all of a clip."""
        return self.grid[-2:] if self.duration == 1 else self.grid

    @property
    def _frames(self) -> int:
        """How often what is drawn is repeated."""
        return math.prod(self.grid) // math.prod(self._drawn)

    def _room(self, share: float) -> int:
        """So many patches of what is drawn."""
        return max(round(share * math.prod(self._drawn)), 1)

    def _tubes(self, index: Array) -> Array:
        """Patches of a frame [B, K] -> the same ones of all frames [B, frames * K]."""
        first = jnp.arange(self._frames)[:, None] * math.prod(self._drawn)
        return (index[:, None] + first).reshape(len(index), -1)

    def _valid(self, valid: Array) -> Array:
        return jnp.tile(valid, (1, self._frames))
