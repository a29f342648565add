"""Where RandomResizedCrop cuts, for one picture on the host; `ops.random_boxes` is the same for a batch on the device."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Box = tuple[int, int, int, int]  # top, left, height, width, in pixels

CROP_TRIES = 10
ROUNDINGS: dict[str, Callable[[float], int]] = {"nearest": round, "down": math.floor}
BOX_DRAWS = 2 * CROP_TRIES + 2  # an area and a ratio for each try, and a place


def random_box(
    uniform: np.ndarray,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rounding: str = "nearest",
) -> Box:
    """The box that the draws `uniform` [BOX_DRAWS] in [0, 1) mean in a picture of `height` x `width`.

    As torchvision's RandomResizedCrop: the first of ten tries of an area `U(scale)` and a log-uniform width/height `ratio`
    that fits, or else the largest central box of an allowed ratio. `rounding` of its sides: "nearest" as there, or "down".
    """
    draws = [float(u) for u in uniform]
    low, high, whole = math.log(ratio[0]), math.log(ratio[1]), ROUNDINGS[rounding]
    for area, place in zip(draws[:CROP_TRIES], draws[CROP_TRIES : 2 * CROP_TRIES], strict=True):
        pixels = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        aspect = math.exp(low + (high - low) * place)
        w, h = whole(math.sqrt(pixels * aspect)), whole(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(draws[-2] * (height - h + 1)), int(draws[-1] * (width - w + 1)), h, w
    return central_box(height, width, ratio)


def central_box(height: int, width: int, ratio: tuple[float, float]) -> Box:
    """(top, left, height, width) of the largest central box with width/height within `ratio`."""
    h, w = height, width
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w
