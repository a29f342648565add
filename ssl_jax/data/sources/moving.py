"""Moving Fashion-MNIST: clips that are made while they are read, from the pictures that ship inside the package.

Real pictures, synthetic motion, after the moving digits of Srivastava, Mansimov, Salakhutdinov 2015, "Unsupervised Learning of
Video Representations using LSTMs", arXiv 1502.04681. The motion is another one, so that labels say what single frames cannot.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from ssl_jax.data import threefry
from ssl_jax.data.sources.arrays import check_split
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.embedded import CLASSES, Embedded
from ssl_jax.errors import UserError

SPLITS = {"pretrain": 20_000, "probe": 4_000, "test": 2_000}
LABELS = {
    "garment": CLASSES,
    "direction": ("right", "down", "left", "up"),
    "speed": ("slow", "medium", "fast"),
    "order": ("top or left first", "bottom or right first"),
}
SPEEDS = (1 / 128, 1 / 64, 1 / 32)  # of the side of a frame, from one frame to the next
SPRITES = 2
_DRAWS = 13  # of a record: labels, starts, bounces, paces, pictures, what stands behind them


class Motion(NamedTuple):
    """`place` float [B, 2, 2, T] (sprite, row and column, frame) of upper left corners in pixels, and the labels int32 [B]."""

    place: np.ndarray
    labels: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class MovingFashion:
    """Clips of two pictures of one garment that move: `clip` uint8 [frames, size, size, 1], and its labels, int32.

    Both drift the same way along one axis, where they leave the frame on one side and come back on the other. Across it each
    bounces once, one off either edge. Behind them stands another picture, darker and as large as the frame.

    What can be asked of a clip:

    * `garment`, which any frame tells;
    * `direction` of the drift, four ways, and `speed`, three;
    * `order`: which of the two edges is touched first.

    Played backwards, a clip is as likely as forwards, and has the other direction and the other order: whoever sees its frames,
    but not which came first, is right half of the time at best about `order`, and about `direction` where he knows the axis.
    Places along the drift are even at any time, so the mean clip is the same both ways, and no weighted sum of pixels tells them
    apart.

    Record i is a function of (`seed`, split, i). The pictures of a split are those of the same split of `Embedded`.

    Args:
      size: side of the frames; sprite: side of a picture on it, which divides 28.
      background: how bright the picture behind is, from 0 to 1.
      label: which of the four is the field `label`, and gives the names of `classes`.
      count: records (default: 20,000 of pretrain, 4,000 of probe, 2,000 of test).
    """

    split: str = "pretrain"
    size: int = 32
    frames: int = 16
    sprite: int = 14
    background: float = 0.4
    label: str = "garment"
    count: int | None = None
    seed: int = 0
    classes: tuple[str, ...] = field(init=False, repr=False)

    labels: ClassVar = LABELS

    def __post_init__(self) -> None:
        check_split(self.split, tuple(SPLITS))
        if self.label not in LABELS:
            raise UserError(f"label={self.label!r} is no label of a moving clip; use one of {', '.join(LABELS)}")
        if 28 % self.sprite or not self.sprite < self.size:
            raise UserError(
                f"size={self.size}, sprite={self.sprite}: the side of a picture is 7, 14 or 28, and smaller than that of a frame"
            )
        if self.frames < 8 or (self.count is not None and self.count < 1):
            raise UserError(f"frames={self.frames}, count={self.count}: use at least 8 frames and 1 record")
        if not 0 <= self.background <= 1:
            raise UserError(f"background={self.background}: give a brightness from 0 to 1")
        object.__setattr__(self, "classes", LABELS[self.label])

    def __len__(self) -> int:
        return self.count or SPLITS[self.split]

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return {name: values[0] for name, values in self.batch(np.array([index])).items()}

    def batch(self, ids: np.ndarray) -> Record:
        """The records `ids` [B], each field stacked to [B, ...]."""
        draws = self._draws(ids)
        place, labels = motion(draws, self.frames, self.size, self.sprite)
        moving = drawn(chosen(self._pictures, labels["garment"], draws), place, self.size)
        clip = np.maximum(moving, self._behind(draws[:, -1])[:, None])[..., None]
        return {"clip": clip, "label": labels[self.label].copy(), **labels}

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N] of a field, without a clip being drawn; None for other fields."""
        labels = labels_of(self._draws(np.arange(len(self))))
        return labels.get(self.label if name == "label" else name)

    @staticmethod
    def example(size: int = 32, frames: int = 16, **_: object) -> Record:
        """A record of zeros, for `ssl-jax plan`."""
        zero = np.zeros((), np.int32)
        return {"clip": np.zeros((frames, size, size, 1), np.uint8), "label": zero, **dict.fromkeys(LABELS, zero)}

    def fingerprint(self) -> str:
        """SHA-256 of the options, and of what the pictures have: records are functions of both."""
        options = f"{self.split} {self.size} {self.frames} {self.sprite} {self.background} {self.label} {len(self)} {self.seed}"
        return hashlib.sha256(f"moving 1 {options} {Embedded(self.split).fingerprint()}".encode()).hexdigest()

    @functools.cached_property
    def _pictures(self) -> np.ndarray:
        """The pictures uint8 [10, N, s + 1, s + 1] by garment, each with a black row and column behind it."""
        columns, by = Embedded(self.split).columns, 28 // self.sprite
        small = columns["image"].reshape(-1, self.sprite, by, self.sprite, by).mean((2, 4)).round().astype(np.uint8)
        each = [small[columns["label"] == garment] for garment in range(len(CLASSES))]
        return np.pad(np.stack(each), ((0, 0), (0, 0), (0, 1), (0, 1)))

    def _behind(self, draws: np.ndarray) -> np.ndarray:
        """The pictures uint8 [B, size, size] that stand behind, by their draws [B]."""
        images = Embedded(self.split).columns["image"][..., 0]
        found = images[(draws * len(images)).astype(int)]
        near = np.arange(self.size) * 28 // self.size
        return (self.background * found[:, near[:, None], near]).astype(np.uint8)

    def _draws(self, ids: np.ndarray) -> np.ndarray:
        """Uniforms float32 [B, 13] of the records."""
        root = threefry.fold_in(threefry.seeded(self.seed), list(SPLITS).index(self.split))
        return threefry.uniform(threefry.fold_in(root, ids), _DRAWS)


def labels_of(draws: np.ndarray) -> dict[str, np.ndarray]:
    """The labels int32 [B] by name, evenly drawn."""
    return {
        name: np.minimum((draws[:, place] * len(classes)).astype(np.int32), len(classes) - 1)
        for place, (name, classes) in enumerate(LABELS.items())
    }


def motion(draws: np.ndarray, frames: int, size: int, sprite: int) -> Motion:
    """How the clips with these uniforms [B, 13] move."""
    labels, time, room = labels_of(draws), np.arange(frames), size - sprite
    way = np.where(labels["direction"] < 2, 1, -1) * np.array(SPEEDS)[labels["speed"]]
    along = size * (draws[:, 4:6, None] + way[:, None, None] * time)

    gap, centre = frames * (1 + draws[:, 6]) / 4, (frames - 1) / 2 + frames * (draws[:, 7] - 0.5) / 4
    early = np.stack([centre - gap / 2, centre + gap / 2], axis=1)
    bounce = np.where(
        labels["order"][:, None] == 0, early, early[:, ::-1]
    )  # of the sprite at the near and at the far edge
    apart = room * (1 + draws[:, 8:10, None]) / 2 * abs(time - bounce[:, :, None]) / frames
    across = np.stack([apart[:, 0], room - apart[:, 1]], axis=1)

    sideways = (labels["direction"] % 2 == 0)[:, None, None, None]
    place = np.where(sideways, np.stack([across, along], axis=2), np.stack([along, across], axis=2))
    return Motion(place, labels)


def chosen(pictures: np.ndarray, garment: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Two pictures of each garment [B], of `pictures` [10, N, ...], by their draws [B, 13]: [B, 2, ...]."""
    count = pictures.shape[1]
    return pictures[garment[:, None], np.minimum((draws[:, 10:12] * count).astype(int), count - 1)]


def drawn(pictures: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
    """Frames uint8 [B, T, size, size]: the brighter of two `pictures` [B, 2, s + 1, s + 1] with a black edge at `place`.

    What leaves the frame on one side comes back on the other.
    """
    side = pictures.shape[-1]
    corner = np.rint(place).astype(np.int64)[..., None]  # [B, 2, row or column, T, 1]
    inside = np.minimum((np.arange(size) - corner) % size, side - 1)  # pixel of the picture; beyond it, its black edge
    first = (np.arange(pictures.shape[0] * SPRITES) * side * side).reshape(-1, SPRITES, 1, 1, 1)
    index = first + inside[:, :, 0, :, :, None] * side + inside[:, :, 1, :, None, :]
    return np.take(pictures.reshape(-1), index).max(axis=1)
