"""Pictures of other than one or three channels, taken as they are: the bands of RGBA and the like, or the pages of a TIFF."""

from __future__ import annotations

from typing import Any

import numpy as np

from ssl_jax.data.image.pixels import Range


def count(picture: Any) -> int:
    """How many channels an opened picture has: its pages, if it is a TIFF of several, or its bands."""
    return _pages(picture) if _pages(picture) > 1 else len(picture.getbands())


def planes(picture: Any, channels: int, pixels: Range | None) -> np.ndarray:
    """The channels of an opened picture as uint8 [H, W, channels]; `pixels` says what is black and white where it is not 8-bit.

    Raises:
      ValueError: it has another number of channels, or they are not 8-bit and nobody said what is white.
    """
    if count(picture) != channels:
        raise ValueError(f"a picture of {count(picture)} channels, where {channels} are asked for")
    if _pages(picture) == 1:
        return _grey(picture, pixels).reshape(*picture.size[::-1], channels)
    return np.stack([_grey(_page(picture, number), pixels) for number in range(channels)], axis=-1)


def _grey(picture: Any, pixels: Range | None) -> np.ndarray:
    values = np.asarray(picture)
    if values.dtype == np.uint8:
        return values
    if pixels is None:
        raise ValueError(f"mode {picture.mode} channels: set `pixels` to what is black and white in them")
    return np.rint(255 * pixels.unit(values)).astype(np.uint8)


def _pages(picture: Any) -> int:
    return getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1


def _page(picture: Any, number: int) -> Any:
    picture.seek(number)
    return picture
