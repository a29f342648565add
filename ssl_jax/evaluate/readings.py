"""What of an encoder a probe reads: which layer, and how its tokens become the features of a record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.models.layer import Layer
from ssl_jax.models.text import mean_token
from ssl_jax.objectives.base import Batch, Encoder

POOLS = ("own", "class", "mean", "tokens", "frames")
_WHOLE = ("own", "frames")  # those that are of no layer
_WRITTEN = re.compile(r"([a-z]+)(?:@(-?\d+))?")


@dataclass(frozen=True, order=True)
class Reading:
    """Features of one layer, pooled one way; written "class", "mean@-4".

    `pool`: "own" is what the encoder itself gives (`Encoder.method`; of its last layer only), "class" the class token [N, D],
    "mean" the mean of the patch tokens [N, D], "tokens" the patch tokens [N, T, D] in the order of their grid, rows first,
    without class token and registers. "frames" is the mean of what an encoder of clips gives for each frame alone [N, D], which
    knows nothing of their order. `layer` counts from the last, -1, backwards; where an encoder normalises its last
    layer, the others are normalised alike (DINOv2's `get_intermediate_layers(norm=True)`). Side by side in one row, as DINOv2
    has the class tokens of the last four layers, is the probe's to make: `np.concatenate` of four readings.
    """

    pool: str = "own"
    layer: int = -1

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise UserError(
                f"reading {self.pool!r} is unknown; use one of {', '.join(POOLS)}, or e.g. mean@-2 of a layer"
            )
        if self.layer >= 0 or (self.pool in _WHOLE and self.layer != -1):
            raise UserError(f"reading {self}: layers count from the last, -1, and {' and '.join(_WHOLE)} have no other")

    def __str__(self) -> str:
        return self.pool if self.layer == -1 else f"{self.pool}@{self.layer}"


OWN, FRAMES = Reading(), Reading("frames")


def reading_named(text: str) -> Reading:
    """The reading that is written so; UserError for what is none."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise UserError(f"reading {text!r} is unknown; use one of {', '.join(POOLS)}, or e.g. mean@-2 of a layer")
    return Reading(found[1], int(found[2] or -1))


def read(encoder: Encoder, variables: dict, batch: Batch, readings: Iterable[Reading]) -> dict[Reading, Array]:
    """Each of `readings` that `encoder` can give of a batch of records, float32 [B, F], or [B, T, D] for "tokens".

    An encoder can give layers if its module has `layers(*inputs, last) -> [Layer, ...]`, the states after its `last` layers (or
    after all it has, where these are fewer).
    """
    own, others = {OWN} & {*readings}, [r for r in readings if r.pool not in _WHOLE]
    found = {reading: encoder.features(variables, batch) for reading in own}
    if FRAMES in readings and _sees_clips(encoder, batch):
        found[FRAMES] = replace(encoder, method="frame_features").features(variables, batch)
    states = _layers(encoder, variables, batch, -min((r.layer for r in others), default=0))
    pooled = {r: _pooled(states[r.layer], r.pool) for r in others if -r.layer <= len(states)}
    return found | {reading: x.astype(jnp.float32) for reading, x in pooled.items() if x is not None}


def given_by(encoder: Encoder, variables: dict, batch: Batch, readings: Sequence[Reading]) -> dict[Reading, Any]:
    """Shapes of what `read` would return. Computes nothing."""
    return jax.eval_shape(lambda v, b: read(encoder, v, b, readings), variables, batch)


def grid_of(encoder: Encoder, variables: dict, batch: Batch, layer: int) -> tuple[int, ...]:
    """The sides of the grid of patch tokens after a layer that `read` gives. Computes nothing."""
    shapes = jax.eval_shape(lambda v, b: _layers(encoder, v, b, -layer)[layer].tokens, variables, batch)
    return tuple(shapes.shape[1:-1])


def _sees_clips(encoder: Encoder, batch: Batch) -> bool:
    """Whether the encoder is given clips [B, T, H, W, C], and can be given frames of them."""
    shapes = jax.eval_shape(encoder.preprocess, batch)
    return hasattr(encoder.module, "frame_features") and [shapes[name].ndim for name in encoder.inputs] == [5]


def _layers(encoder: Encoder, variables: dict, batch: Batch, last: int) -> Sequence[Layer]:
    if not last or not hasattr(encoder.module, "layers"):
        return ()
    inputs = encoder.preprocess(batch)
    return encoder.module.apply(variables, *(inputs[k] for k in encoder.inputs), last, method="layers")  # type: ignore


def _pooled(layer: Layer, pool: str) -> Array | None:
    if pool == "class":
        return layer.class_token
    tokens = layer.tokens.reshape(len(layer.tokens), -1, layer.tokens.shape[-1])
    if pool == "tokens":
        return tokens
    if layer.valid is not None:
        return mean_token(tokens, layer.valid.reshape(tokens.shape[:2]))
    return tokens.mean(axis=1, dtype=wide(tokens.dtype))
