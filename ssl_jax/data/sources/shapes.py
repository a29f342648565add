"""Synthetic scenes: geometric shapes on textures, with label maps and depth maps. Needs no data.

No substitute for pictures: what reads these maps well has shown that it keeps edges, colours and sizes, no more. For outlines of
real drawings there is `stamps`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ssl_jax.data.image.scenes import Layer, scene_record, seen_size
from ssl_jax.data.sources.arrays import check_split
from ssl_jax.data.sources.base import Record
from ssl_jax.errors import UserError

SPLITS = {"pretrain": 4000, "probe": 1000, "test": 1000}

# Shapes as functions of places x, y in [-1, 1]: at least 0 inside.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda x, y: 0.95 - np.hypot(x, y),
    "square": lambda x, y: 0.75 - np.maximum(abs(x), abs(y)),
    "triangle": lambda x, y: np.minimum(0.6 - y, 0.5 * (y + 0.9) - abs(x) * 0.9),
    "ring": lambda x, y: 0.25 - abs(np.hypot(x, y) - 0.65),
    "cross": lambda x, y: np.minimum(0.9 - np.maximum(abs(x), abs(y)), 0.28 - np.minimum(abs(x), abs(y))),
}


@dataclass(frozen=True, eq=False)
class Shapes:
    """Scenes of two to five shapes: `image` uint8 [size, size, 3], `segments` int32 [size, size] (0 background, then the shapes
    in their order), `depth` float32 [size, size] (1 to 4, background 5), `label` int32, the nearest shape.

    A shape is smaller the farther it is, turned and coloured at random; nearer ones cover others. Record i is a function of
    (`seed`, split, i). `count` is the number of records (default: 4,000 of pretrain, 1,000 of probe and test).
    """

    split: str = "pretrain"
    size: int = 32
    count: int | None = None
    seed: int = 0

    classes: ClassVar[tuple[str, ...]] = tuple(SHAPES)
    labels: ClassVar = {"segments": ("background", *SHAPES), "depth": ()}

    def __post_init__(self) -> None:
        check_split(self.split, tuple(SPLITS))
        if self.size < 8 or (self.count is not None and self.count < 1):
            raise UserError(f"size={self.size}, count={self.count}: use at least 8 pixels and 1 record")

    def __len__(self) -> int:
        return self.count or SPLITS[self.split]

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        rng = np.random.default_rng([self.seed, list(SPLITS).index(self.split), index])
        return scene_record(rng, self.size, lambda depth: _layer(rng, depth, self.size))

    @staticmethod
    def example(size: int = 32, **_: object) -> Record:
        """A record of zeros, for `ssl-jax plan`."""
        return zeros(size)

    def fingerprint(self) -> str:
        """SHA-256 of the options: records are functions of them."""
        return hashlib.sha256(f"shapes 1 {self.split} {self.size} {len(self)} {self.seed}".encode()).hexdigest()


def zeros(size: int) -> Record:
    """A scene of zeros, with its maps and label."""
    flat = (size, size)
    maps = {"segments": np.zeros(flat, np.int32), "depth": np.zeros(flat, np.float32), "label": np.zeros((), np.int32)}
    return {"image": np.zeros((*flat, 3), np.uint8)} | maps


def _layer(rng: np.random.Generator, depth: float, size: int) -> Layer:
    side, kind, angle = seen_size(depth, size), int(rng.integers(len(SHAPES))), rng.uniform(0, 2 * np.pi)
    top, left = rng.integers(-side // 3, size - 2 * side // 3, 2)
    place = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    x, y = (
        np.cos(angle) * place + np.sin(angle) * place[:, None],
        np.cos(angle) * place[:, None] - np.sin(angle) * place,
    )
    inside = tuple(SHAPES.values())[kind](x, y)
    alpha = np.clip(inside * side / 2 + 0.5, 0, 1).astype(np.float32)  # one pixel of soft edge
    colour = np.broadcast_to(rng.random(3, np.float32), (side, side, 3))
    return Layer(colour, alpha, int(top), int(left), kind + 1, float(depth))
