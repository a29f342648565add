"""What the layers of an encoder hand on, one form for transformers and convolutional networks."""

from __future__ import annotations

from typing import NamedTuple

from jax import Array


class Layer(NamedTuple):
    """States after one layer: `tokens` [B, *grid, D] of the places, and the `class_token` [B, D] where there is one.

    `valid` [B, *grid] says which places are no padding; None: all of them.
    """

    tokens: Array
    class_token: Array | None = None
    valid: Array | None = None
