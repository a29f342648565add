"""Random crops on the host: what of an augmentation is done where whole pictures are, before anything is on a device.

The same views as on the device: a crop is a pure function of its picture and of the view's draws, and these are the numbers that
`ViewPolicy` draws there for the same example (`data/threefry.py`). Flips and colours stay on the device. No jax here, so that
worker processes need none.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ssl_jax.data import threefry
from ssl_jax.data.image.boxes import BOX_DRAWS, Box, random_box
from ssl_jax.data.image.resize import Size, antialiased, resized
from ssl_jax.data.sources.base import Record
from ssl_jax.errors import UserError


@dataclass(frozen=True)
class Crop:
    """`count` random resized crops of one size. `name` is whose draws they take; a `scale` of (1, 1) means the centre."""

    name: str
    count: int
    size: Size
    scale: tuple[float, float]
    ratio: tuple[float, float]
    method: str
    rounding: str = "nearest"

    def __call__(self, image: np.ndarray, draws: np.ndarray, mode: str) -> np.ndarray:
        """uint8 [count, *size, C] of `image` uint8 [H, W, C], one for each row of `draws` [count, BOX_DRAWS]."""
        if self.scale == (1.0, 1.0):
            return np.repeat(resized_centre(image, self.size, self.method)[None], self.count, axis=0)
        height, width = image.shape[:2]
        boxes = (random_box(draw, height, width, self.scale, self.ratio, self.rounding) for draw in draws)
        return np.stack([resized(image, box, self.size, self.method, mode) for box in boxes])


@dataclass(frozen=True)
class HostCrops:
    """What the host makes of a record: its picture becomes the crops of each kind, `<key>/<kind>` uint8 [V, h, w, C].

    key: the field with the picture, uint8 [H, W, C].
    crops: by kind of view.
    mode: how a crop is resized, one of `resize.MODES`.
    """

    key: str
    crops: tuple[tuple[str, Crop], ...]
    mode: str = "antialias"

    def draws(self, keys: np.ndarray) -> np.ndarray:
        """The draws float32 [R, all views, BOX_DRAWS] of the examples with these keys uint32 [R, 2]."""
        views = np.concatenate([view_numbers(crop.name, crop.count) for _, crop in self.crops])
        return threefry.uniform(threefry.fold_in(keys[:, None], views), BOX_DRAWS)

    def __call__(self, record: Record, draws: np.ndarray) -> Record:
        """The record with crops for its picture, by its row [all views, BOX_DRAWS] of `draws`."""
        image, rest = record[self.key], {name: value for name, value in record.items() if name != self.key}
        if image.dtype != np.uint8 or image.ndim != 3:
            raise UserError(
                f"data.crop=host crops pictures, uint8 [H, W, C]; {self.key!r} is {image.dtype} {list(image.shape)}: "
                f"set data.crop=device"
            )
        return rest | dict(self._cropped(image, draws))

    def _cropped(self, image: np.ndarray, draws: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        ends = np.cumsum([crop.count for _, crop in self.crops])
        for (kind, crop), own in zip(self.crops, np.split(draws, ends[:-1]), strict=True):
            yield f"{self.key}/{kind}", crop(image, own, self.mode)


def view_numbers(name: str, count: int) -> np.ndarray:
    """What is folded into an example's key for each of its `count` views of this name: uint32, the same in every process."""
    return np.array([zlib.crc32(f"{name} {view}".encode()) for view in range(count)], np.uint32)


def resized_centre(image: np.ndarray, size: Size, method: str) -> np.ndarray:
    """The largest central box of the shape of `size` [h, w], as uint8 [*size, C]: `ops.resized_centre` of fraction 1."""
    (height, width), (rows, columns) = image.shape[:2], size
    zoom = max(rows / height, columns / width)
    h, w = rows / zoom, columns / zoom
    whole: Box = (0, 0, height, width)
    if (round(h), round(w)) == (height, width):
        return resized(image, whole, size, method)
    return antialiased(image, size, method, ((width - w) / 2, (height - h) / 2, w, h))
