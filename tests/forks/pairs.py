"""Coloured shapes with their captions as a source, and views of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array
from texts import COUNTS, PAD

from ssl_jax.data.augment import Augment, Batch, Views
from ssl_jax.data.panels import Panel
from ssl_jax.data.sources.arrays import Columns

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220), "yellow": (230, 210, 50)}
SHAPES = ("square", "cross", "bar")
CAPTION = (PAD, "a", *COLOURS, *SHAPES)
SIDE = 12


def drawn(shape: str, colour: tuple[int, int, int], random: np.random.Generator) -> np.ndarray:
    """A picture uint8 [12, 12, 3] of the shape on a dark ground, somewhere."""
    row, column = np.indices((SIDE, SIDE)) - random.integers(4, 8, (2, 1, 1))
    inside = {
        "square": (abs(row) < 4) & (abs(column) < 4),
        "cross": ((abs(row) < 2) | (abs(column) < 2)) & (abs(row) < 5) & (abs(column) < 5),
        "bar": abs(row) < 2,
    }[shape]
    ground = random.integers(0, 60, (SIDE, SIDE, 3))
    return np.where(inside[..., None], np.array(colour) - ground // 2, ground).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Captioned(Columns):
    """`image` uint8 [12, 12, 3], `tokens` int32 [4] of its caption, and labels `label` (the shape) and `colour`."""

    split: str = "pretrain"
    limit: int | None = None

    def __post_init__(self) -> None:
        random, count = np.random.default_rng(sorted(COUNTS).index(self.split)), COUNTS[self.split]
        shape, colour = random.integers(0, len(SHAPES), count), random.integers(0, len(COLOURS), count)
        names = list(COLOURS)
        words = [["a", names[c], SHAPES[s], PAD] for s, c in zip(shape, colour, strict=True)]
        columns = {
            "image": np.stack(
                [drawn(SHAPES[s], COLOURS[names[c]], random) for s, c in zip(shape, colour, strict=True)]
            ),
            "tokens": np.array([[CAPTION.index(word) for word in text] for text in words], np.int32),
            "label": shape.astype(np.int32),
            "colour": colour.astype(np.int32),
        }
        self._set(columns, SHAPES, self.limit)


@dataclass(frozen=True)
class Pair:
    """Views of pictures and of captions, each by its own augmentation."""

    image: Any
    text: Any

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of the picture, then those of the caption."""
        return (*self.image.inputs, *self.text.inputs)

    @property
    def parts(self) -> tuple[Augment, Augment]:
        """Both augmentations."""
        return self.image, self.text

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The views of both."""
        return self.image(keys, batch) | self.text(keys, batch)

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """Both, without randomness."""
        return self.image.evaluation(batch) | self.text.evaluation(batch)

    def plain(self, batch: Batch) -> Array:
        """The picture's."""
        return self.image.plain(batch)

    def panel(self, views: Views) -> dict[str, Panel]:
        """Pictures, and the captions under a name of their own."""
        return self.image.panel(views) | self.text.panel(views)
