"""Pictures of other than one or three channels, taken as they are: the bands of RGBA and the like, or the pages of a TIFF."""

from __future__ import annotations

from typing import Any

import numpy as np


def count(picture: Any) -> int:
    """How many channels an opened picture has: its pages, if it is a TIFF of several, or its bands."""
    return _pages(picture) if _pages(picture) > 1 else len(picture.getbands())


def planes(picture: Any, channels: int) -> list[Any]:
    """The channels of an opened picture, each a picture of one. ValueError where it has another number of them."""
    if count(picture) != channels:
        raise ValueError(f"a picture of {count(picture)} channels, where {channels} are asked for")
    if _pages(picture) == 1:
        return list(picture.split()) if len(picture.getbands()) > 1 else [picture]
    return [_page(picture, number) for number in range(channels)]


def resized(plane: Any, size: int, box: tuple[float, float, float, float], scale: Any) -> np.ndarray:
    """The `box` of a picture of one channel as uint8 [size, size]; `scale` says what is black and white where it is not 8-bit."""
    from PIL import Image

    if plane.mode != "L":
        if scale is None:
            raise ValueError(f"mode {plane.mode} channels: set `pixels` to what is black and white in them")
        plane = Image.fromarray(255 * scale.unit(np.asarray(plane)))
    square = np.asarray(plane.resize((size, size), Image.Resampling.BICUBIC, box))
    return np.clip(np.rint(square), 0, 255).astype(np.uint8)


def _pages(picture: Any) -> int:
    return getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1


def _page(picture: Any, number: int) -> Any:
    picture.seek(number)
    return picture.copy()
