"""TS2Vec's two overlapping crops of a series (Yue et al. 2021, arXiv 2106.10466, section 3.3), with static shapes.

A crop is a mask over the steps of the whole array: what lies beside it is not there for the model. Lengths are drawn once for a
batch, places for each series, so that steps of the overlap can be compared between series by their number in it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Lengths(NamedTuple):
    """What a whole batch shares: steps of the `overlap`, and how far the crops reach `before` and `after` it."""

    overlap: Array
    before: Array
    after: Array


def lengths(key: Array, steps: int, least: int = 2) -> Lengths:
    """An overlap of `least` to `steps` steps, at a place of which both crops' other ends are drawn, all evenly."""
    how_many, place, left, right = jax.random.split(key, 4)
    overlap = jax.random.randint(how_many, (), min(least, steps), steps + 1)
    first = jax.random.randint(place, (), 0, steps - overlap + 1)
    last = first + overlap
    before = first - jax.random.randint(left, (), 0, first + 1)
    after = jax.random.randint(right, (), last, steps + 1) - last
    return Lengths(overlap, before, after)


def crops(key: Array, found: Lengths, steps: int) -> tuple[Array, Array]:
    """The crops of one series, bool [2, steps], the one that reaches back first; and the first step of their overlap."""
    first = jax.random.randint(key, (), found.before, steps - found.overlap - found.after + 1)
    last, step = first + found.overlap, jnp.arange(steps)
    reaching = jnp.stack([jnp.stack([first - found.before, last]), jnp.stack([first, last + found.after])])
    return (step >= reaching[:, :1]) & (step < reaching[:, 1:]), first


def from_step(states: Array, first: Array) -> Array:
    """States [B, T, ...] from the step `first` [B] on: a row's last step stands in for those beyond the end."""
    steps = jnp.minimum(first[:, None] + jnp.arange(states.shape[1]), states.shape[1] - 1)
    return jnp.take_along_axis(states, steps.reshape(*steps.shape, *[1] * (states.ndim - 2)), axis=1)
