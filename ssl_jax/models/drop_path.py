"""Stochastic depth (Huang et al. 2016, arXiv 1603.09382) for residual branches, on packed tokens.

Tokens are packed: `x` [G, S, D] holds, for each of G rows, the sections one after another; a section is `rows` sequences of
`tokens` each, so that S is the sum of rows * tokens. A branch maps packed tokens to packed tokens of the same sections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.mesh import shard_batch
from ssl_jax.errors import UserError


class Section(NamedTuple):
    """Sequences of one length within a row of packed tokens. Static: attention is one call for each section."""

    rows: int
    tokens: int


Sections = tuple[Section, ...]
Branch = Callable[[Array, Sections], Array]
MODES = ("linear", "subset")


@dataclass(frozen=True)
class DropPath:
    """How residual branches are dropped in training.

    `linear`: each sequence loses a branch with a probability that rises from 0 in the first layer to `rate` in the last,
    and kept branches are divided by the probability to stay. `subset` (DINOv2, arXiv 2304.07193, section 5): in every layer
    the branch is computed for max(floor(n (1 - rate)), 1) of the n sequences of each section, drawn at random, and scaled
    by n over that. n counts the sequences of one of `groups` logical groups of neighbouring examples: groups belong to the
    recipe, not to the mesh, and no activation leaves its device where their number is a multiple of the devices.
    """

    rate: float
    mode: str = "linear"
    groups: int = 1

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"drop_path_mode={self.mode!r} is unknown; use one of {', '.join(MODES)}")
        if not 0 <= self.rate < 1:
            raise UserError(f"drop_path={self.rate}: a probability of at least 0 and below 1")

    def rates(self, depth: int) -> Array:
        """The probability of each layer, [depth]."""
        return jnp.linspace(0.0, self.rate, depth) if self.mode == "linear" else jnp.full(depth, self.rate)


def residual(branch: Branch, x: Array, sections: Sections) -> Array:
    """`x + branch(x)`."""
    return x + branch(x, sections)


def dropped_sequences(key: Array, branch: Branch, x: Array, sections: Sections, rate: Array) -> Array:
    """`x + branch(x) * kept / (1 - rate)`, with `kept` drawn for each sequence."""
    counts = jnp.array([s.tokens for s in sections for _ in range(s.rows)])
    kept = jax.random.bernoulli(key, 1 - rate, (x.shape[0], counts.size)) / (1 - rate)
    scale = jnp.repeat(kept, counts, axis=1, total_repeat_length=x.shape[1])
    return x + branch(x, sections) * scale[..., None].astype(x.dtype)


def subset_of_sequences(key: Array, branch: Branch, x: Array, sections: Sections, drop: DropPath) -> Array:
    """`x`, with the scaled branch added to a random subset of the sequences of each section and group."""
    batch, _, width = x.shape
    if batch % drop.groups:
        raise UserError(
            f"drop_path_groups={drop.groups} does not divide the {batch} examples of a batch; use a divisor"
        )
    parts = [
        part.reshape(drop.groups, batch // drop.groups * s.rows, s.tokens, width)
        for part, s in zip(split_sections(x, sections), sections, strict=True)
    ]
    kept = [max(int(part.shape[1] * (1 - drop.rate)), 1) for part in parts]
    keys = jax.random.split(key, len(parts))
    index = [
        jnp.argsort(jax.random.uniform(k, part.shape[:2]), axis=1)[:, :n]
        for k, part, n in zip(keys, parts, kept, strict=True)
    ]
    chosen = [jnp.take_along_axis(part, i[..., None, None], axis=1) for part, i in zip(parts, index, strict=True)]
    fewer = tuple(Section(n, s.tokens) for n, s in zip(kept, sections, strict=True))
    packed = shard_batch(jnp.concatenate([c.reshape(drop.groups, -1, width) for c in chosen], axis=1))
    out = split_sections(branch(packed, fewer), fewer)
    add = jax.vmap(lambda rows, i, update: rows.at[i].add(update, unique_indices=True))
    grown = [
        add(part, i, o.reshape(c.shape) * (part.shape[1] / c.shape[1]))
        for part, i, o, c in zip(parts, index, out, chosen, strict=True)
    ]
    return jnp.concatenate([part.reshape(batch, -1, width) for part in grown], axis=1)


def split_sections(x: Array, sections: Sections) -> list[Array]:
    """Packed `x` [G, S, ...] -> one array [G, rows * tokens, ...] for each section."""
    ends = [sum(s.rows * s.tokens for s in sections[: i + 1]) for i in range(len(sections) - 1)]
    return jnp.split(x, ends, axis=1)
