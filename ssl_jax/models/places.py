"""What masked prediction asks of an encoder of any modality: where its places are, and what it makes of hidden ones."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from jax import Array

from ssl_jax.models.grid import Grid


class Lattice(NamedTuple):
    """The places of an input: so many along each axis; `valid` [B, N] marks those that are no padding (None: all)."""

    grid: Grid
    valid: Array | None = None


class Places(NamedTuple):
    """States of places: `tokens` [B, N, D] at the end, and `layers` [L, B, N, D] after each of the last L blocks."""

    tokens: Array
    layers: Array | None = None


class PlacesEncoder(Protocol):
    """An encoder with a state for each place of its input: a patch, a token, a frame of sound."""

    def lattice(self, *inputs: Array) -> Lattice:
        """The places of `inputs`."""
        ...

    def at_places(self, *inputs: Array, hidden: Array | None = None, last: int = 0, train: bool = False) -> Places:
        """States of all places; a learned vector stands where `hidden` [B, N] is True. With those after `last` blocks."""
        ...
