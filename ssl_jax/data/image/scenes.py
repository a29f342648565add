"""Scenes: things laid on a texture from far to near, with the outline and the distance of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

FAR = 5.0  # the distance of the background; things lie nearer
NEAR = 1.0
MOST = 5  # layers of a scene


class Layer(NamedTuple):
    """A thing: `colour` float32 [h, w, 3] and `alpha` [h, w] in [0, 1], at row `top` and column `left`; what it is, how far."""

    colour: np.ndarray
    alpha: np.ndarray
    top: int
    left: int
    kind: int
    depth: float


class Scene(NamedTuple):
    """`image` uint8 [S, S, 3]; `segments` int32 [S, S], the kind of what is seen there, 0 for the background; `depth` float32
    [S, S]."""

    image: np.ndarray
    segments: np.ndarray
    depth: np.ndarray


def composed(background: np.ndarray, layers: Sequence[Layer]) -> Scene:
    """Layers over a background float32 [S, S, 3], the nearest on top. A pixel belongs to a layer that covers half of it."""
    scene = Scene(
        background.copy(), np.zeros(background.shape[:2], np.int32), np.full(background.shape[:2], FAR, np.float32)
    )
    for layer in sorted(layers, key=lambda each: -each.depth):
        _lay(scene, layer)
    return scene._replace(image=np.round(255 * np.clip(scene.image, 0, 1)).astype(np.uint8))


def _lay(scene: Scene, layer: Layer) -> None:
    """Lay one layer on what is there; what lies outside is cut off."""
    size, (height, width) = len(scene.depth), layer.alpha.shape
    rows, columns = (
        slice(max(at, 0), max(min(at + n, size), 0)) for at, n in ((layer.top, height), (layer.left, width))
    )
    part = (
        slice(rows.start - layer.top, rows.stop - layer.top),
        slice(columns.start - layer.left, columns.stop - layer.left),
    )
    alpha, place = layer.alpha[part], (rows, columns)
    scene.image[place] += alpha[..., None] * (layer.colour[part] - scene.image[place])
    scene.segments[place] = np.where(alpha >= 0.5, layer.kind, scene.segments[place])
    scene.depth[place] = np.where(alpha >= 0.5, layer.depth, scene.depth[place])


def texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random smooth background float32 [size, size, 3]: three waves of random direction, in two colours, and fine grain."""
    grid = np.arange(size, dtype=np.float32) / size
    turns = rng.uniform(-4, 4, (3, 2)).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, 3).astype(np.float32)
    waves = [np.sin(2 * np.pi * (a * grid[:, None] + b * grid) + p) for (a, b), p in zip(turns, phase, strict=True)]
    blend = (sum(waves) / 6 + 0.5)[..., None]
    first, second = rng.random((2, 3), np.float32)
    grain = rng.normal(0, 0.03, (size, size, 1)).astype(np.float32)
    return (first + blend * (second - first) + grain).astype(np.float32)


def distances(rng: np.random.Generator, count: int) -> np.ndarray:
    """How far each of `count` things is, in [NEAR, FAR - 1]."""
    return rng.uniform(NEAR, FAR - 1, count)


def seen_size(depth: float, size: int, share: float = 0.7) -> int:
    """The side in pixels of something at `depth` in a picture of `size`: `share` of it at the distance NEAR, less beyond."""
    return max(2, round(share * size * NEAR / depth))


def scene_record(rng: np.random.Generator, size: int, layer: Callable[[float], Layer]) -> dict[str, np.ndarray]:
    """A scene of two to five layers on a texture: its picture, maps, and the kind of the nearest layer as `label`.

    `layer` makes one at a distance.
    """
    layers = [layer(depth) for depth in distances(rng, int(rng.integers(2, MOST + 1)))]
    scene = composed(texture(rng, size), layers)
    nearest = min(layers, key=lambda each: each.depth).kind - 1
    return scene._asdict() | {"label": np.asarray(nearest, np.int32)}
