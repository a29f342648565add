"""Batches of clips on the device -> named, normalised, randomly changed views.

`ClipViews` is the `augment` of a recipe of video, as `ImageViews` is of one of pictures, with the same names for the same things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.augment import Batch, Views, other_kinds
from ssl_jax.data.image import ops
from ssl_jax.data.image.pixels import check_unit
from ssl_jax.data.image.views import check_views, make_hashable, view_keys
from ssl_jax.data.panels import Clips, Panel
from ssl_jax.data.video.clip_policy import ClipPolicy, in_planes, require_frames
from ssl_jax.errors import UserError

PLAIN = 16  # pixels on a side of the frames of `plain`, at most


@dataclass(frozen=True)
class ClipViews:
    """Views of the clips of a batch, by named policies.

    size: rows and columns of the evaluation view (an int for a square), and of each policy that names none.
    mean, std: of pixels in [0, 1]; one number, or one for each channel.
    views: policy name -> options of `ClipPolicy`.
    frames, stride: of the evaluation view, from the middle of the record; None: all of its frames.
    crop_fraction: evaluation resizes the short side to `size / crop_fraction` and keeps the centre.
    interpolation: of that resize, with antialias.
    key: the field of the batch that holds clips [B, T, H, W, C]: uint8, or floats in [0, 1].

    >>> augment = ClipViews(32, (0.1,), (0.2,), {"clip": {"count": 2, "frames": 8, "scale": (0.5, 1.0)}})
    >>> augment(jax.random.split(jax.random.key(0), 4), {"clip": jnp.zeros((4, 16, 32, 32, 1))})["clip"].shape
    (4, 2, 8, 32, 32, 1)
    """

    size: int | tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    views: Mapping[str, Mapping[str, Any]] | tuple[tuple[str, ClipPolicy], ...]
    frames: int | None = None
    stride: int = 1
    crop_fraction: float = 1.0
    interpolation: str = "bilinear"
    key: str = "clip"

    inputs: ClassVar = ("clip",)

    def __post_init__(self) -> None:
        make_hashable(self, ClipPolicy)
        check_views(self)
        if self.stride < 1 or (self.frames is not None and self.frames < 1):
            raise UserError(
                f"augment.frames={self.frames}, augment.stride={self.stride}: use whole numbers of at least 1"
            )

    @property
    def policies(self) -> dict[str, ClipPolicy]:
        """The policies by name."""
        return cast(dict[str, ClipPolicy], dict(self.views))  # since __post_init__

    @property
    def pixels(self) -> tuple[int, int]:
        """Rows and columns of the evaluation view."""
        return cast(tuple[int, int], self.size)

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """Views {name: float32 [B, V, t, h, w, C]} of `batch`, drawn from the typed keys [B] of its examples."""
        clips = self._clips(batch)
        return {
            name: self._normalise(policy(view_keys(keys, policy.like or name, policy.count), clips))
            for name, policy in self.policies.items()
        }

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """{"clip": float32 [B, t, h, w, C]}: the middle of the record in time and place, without randomness.

        With `policy`, as many frames, pixels and frames from one to the next (the fewest) as its views have.
        """
        clips, kind = self._clips(batch), self.policies.get(policy)
        length, stride = (self.frames, self.stride) if kind is None else (kind.frames, kind.strides[0])
        size = (kind and kind.pixels) or self.pixels
        x = ops.scaled(middle(clips, length or (clips.shape[1] - 1) // stride + 1, stride))
        if x.shape[2:4] != size or self.crop_fraction != 1.0:
            x = in_planes(
                lambda _, pictures: ops.resized_centre(pictures, size, self.crop_fraction, self.interpolation),
                x[:, 0],
                x,
            )
        return {"clip": self._normalise(ops.unit(x))}

    def plain(self, batch: Batch) -> Array:
        """The pixels [B, t * h * w * C] of the evaluation view, its frames shrunk to at most 16 x 16 pixels."""
        clips = self.evaluation(batch)["clip"]
        size = tuple(min(side, PLAIN) for side in clips.shape[2:4])
        small = in_planes(lambda _, pictures: ops.resized_centre(pictures, size, 1.0), clips[:, 0], clips)
        return small.reshape(len(clips), -1)

    def panel(self, views: Views) -> dict[str, Panel]:
        """The `views` of each clip side by side, and those of every other kind under the name of their policy."""
        others = {name: views[name] for name in other_kinds(views, self.inputs) if views[name].ndim == 6}
        return {name: self._shown(x) for name, x in ({"views": views["clip"]} | others).items()}

    def units(self, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Frames of the records."""
        return {"frames": float(np.prod(batch[self.key].shape[:2]))}

    def check(self, records: Iterable[Mapping[str, Any]]) -> None:
        """UserError for records whose pixels would be clipped: floats outside of [0, 1]."""
        check_unit(records, self.key)

    def upright(self, x: Array) -> Array:
        """Frames as they are."""
        return x

    def denormalise(self, x: Array) -> Array:
        """Normalised clips [..., C] -> [0, 1]."""
        return ops.unit(x * jnp.asarray(self.std, x.dtype) + jnp.asarray(self.mean, x.dtype))

    def _normalise(self, x: Array) -> Array:
        return (x - jnp.asarray(self.mean, x.dtype)) / jnp.asarray(self.std, x.dtype)

    def _shown(self, views: Array) -> Panel:
        captions = tuple(f"view {number}" for number in range(1, views.shape[1] + 1))
        return Clips(self.denormalise(views), captions)

    def _clips(self, batch: Batch) -> Array:
        """The clips of a batch, or a UserError that names what is wrong with the field."""
        if self.key not in batch:
            raise UserError(
                f"a batch has no field '{self.key}', only {sorted(batch)}; set augment.key to one that has clips"
            )
        clips = jnp.asarray(batch[self.key])
        if clips.ndim != 5 or not (clips.dtype == jnp.uint8 or jnp.issubdtype(clips.dtype, jnp.floating)):
            raise UserError(
                f"'{self.key}' is {clips.dtype} {clips.shape}; clips are [B, T, H, W, C], uint8 or floats in [0, 1]"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, clips.shape[-1]):
                raise UserError(
                    f"augment.{name} has {len(values)} values for clips of {clips.shape[-1]} channels; give 1 or "
                    f"{clips.shape[-1]}"
                )
        return clips


def middle(clips: Array, length: int, stride: int) -> Array:
    """`length` frames of clips [B, T, ...], each `stride` after the last, with as many before them as behind."""
    found = clips.shape[1]
    require_frames(length, stride, found)
    start = (found - stride * (length - 1) - 1) // 2
    return clips[:, start : start + stride * (length - 1) + 1 : stride]
