"""How views of a clip are drawn: which frames, and then what `ViewPolicy` does to a picture, alike to all of them.

What works in the plane of a picture (crops, flips, blur) sees the frames of a clip as channels, what works on colours sees them
as more rows: either way a clip is one picture to it, and has one set of draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from jax import Array

from ssl_jax.data.image import ops
from ssl_jax.data.image.view_policy import SLICES, Operation, Probability, ViewPolicy, draws_of
from ssl_jax.errors import UserError

# The draws of a view: those of pictures, and from the end what only clips have.
OWNED = SLICES | {"time": slice(62, 64), "residual": slice(61, 62)}
IN_PLANES = (
    "residual",
    "translate",
    "flip",
    "blur",
    "erase",
)  # the operations that move pixels, or mix those of a channel


@dataclass(frozen=True)
class ClipPolicy(ViewPolicy):
    """Draws `count` views of one length and size: frames first, then what `ViewPolicy` says, alike in all of them.

    frames: of a view; None: all that a record has.
    strides: the fewest and the most frames from one to the next. One number between them is drawn for each view, and then a start
        among all where the view fits: two views of a record are two clips of a video.
    residual: the probability that a view is what changes from each frame to the next, (y - x + 1) / 2, after the crop. What
        stands still is grey, so that two views agree on what moves (Tao, Wang, Yamasaki 2020, arXiv 2008.02531: residual clips).
        A tuple has one for each of the `count` views.

    A flip turns left into right in all frames: leave it out where labels, or the objective, tell directions.
    """

    frames: int | None = None
    strides: tuple[int, int] = (1, 1)
    residual: Probability = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.strides) != 2 or not 1 <= self.strides[0] <= self.strides[1]:
            raise UserError(f"strides={self.strides!r}; it has to be (low, high), whole numbers with 1 <= low <= high")
        if self.frames is not None and self.frames < 1:
            raise UserError(f"frames={self.frames!r}; it has to be a number of frames, or None for all")
        chances = self.residual if isinstance(self.residual, tuple) else (self.residual,) * self.count
        if len(chances) != self.count or not all(0 <= chance <= 1 for chance in chances):
            raise UserError(
                f"residual={self.residual!r}; it has to be a probability, or one for each of {self.count} views"
            )

    def __call__(self, keys: Array, clips: Array) -> Array:
        """Views float32 [B, V, t, h, w, C] in [0, 1] of `clips` [B, T, H, W, C], one for each of the typed `keys` [B, V]."""
        draws = draws_of(keys)
        x = ops.scaled(self._frames(draws, clips))
        x = in_planes(self.crop, draws[:, OWNED["crop"]], x)
        for name, operation in self.operations(x.shape[-1]).items():
            apply = in_planes if name in IN_PLANES else in_rows
            x = apply(operation, draws[:, OWNED[name]], x)
        return x.reshape(*keys.shape, *x.shape[1:])

    def operations(self, channels: int) -> dict[str, Operation]:
        """What happens after the crop, by name and in order; `IN_PLANES` says which see frames as channels."""
        moving = self._sometimes(self.residual, partial(_residual, channels))
        return ({} if moving is None else {"residual": moving}) | super().operations(channels)

    def _frames(self, draws: Array, clips: Array) -> Array:
        """The frames [B * V, t, H, W, C] of each view, an example's views beside each other."""
        several = jnp.broadcast_to(clips[:, None], (len(clips), self.count, *clips.shape[1:]))
        several = several.reshape(-1, *clips.shape[1:])
        index = self._places(draws[:, OWNED["time"]], clips.shape[1])
        return jnp.take_along_axis(several, index[:, :, None, None, None], axis=1)

    def _places(self, draws: Array, found: int) -> Array:
        """Which of the `found` frames each view takes, int32 [B * V, t], by its draws [B * V, 2]: stride and start."""
        length, (low, high) = self.frames or found, self.strides
        require_frames(length, high, found)
        step = low + jnp.floor(draws[:, 0] * (high - low + 1)).astype(jnp.int32)
        start = jnp.floor(draws[:, 1] * (found - step * (length - 1))).astype(jnp.int32)
        return start[:, None] + step[:, None] * jnp.arange(length)


def require_frames(length: int, stride: int, found: int) -> None:
    """UserError where `length` frames, each `stride` after the last, do not fit into the `found` ones of a record."""
    if stride * (length - 1) >= found:
        raise UserError(
            f"clips of {length} frames, one in {stride}, need records of {stride * (length - 1) + 1} frames, and these have "
            f"{found}: use fewer frames or a smaller stride in augment, or longer clips in data"
        )


def in_planes(operation: Operation, draws: Array, clips: Array) -> Array:
    """`operation` on clips [R, T, H, W, C] as pictures [R, H, W, T * C]: frames are channels."""
    pictures = jnp.moveaxis(clips, 1, 3)
    frames, channels = pictures.shape[3:]
    changed = operation(draws, pictures.reshape(*pictures.shape[:3], -1))
    return jnp.moveaxis(changed.reshape(*changed.shape[:3], frames, channels), 3, 1)


def in_rows(operation: Operation, draws: Array, clips: Array) -> Array:
    """`operation` on clips [R, T, H, W, C] as pictures [R, T * H, W, C]: frames stand one below the other."""
    frames, height = clips.shape[1:3]
    changed = operation(draws, clips.reshape(clips.shape[0], -1, *clips.shape[3:]))
    return changed.reshape(changed.shape[0], frames, height, *changed.shape[2:])


def _residual(channels: int, draws: Array, pictures: Array) -> Array:
    """What changes in pictures [R, H, W, T * `channels`] from each frame to the next, in [0, 1]; the last change stands twice."""
    change = (pictures[..., channels:] - pictures[..., :-channels] + 1) / 2
    return jnp.concatenate([change, change[..., -channels:]], axis=-1)
