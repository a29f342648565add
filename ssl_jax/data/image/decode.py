"""Compressed pictures -> static uint8 arrays, with Pillow.

A faster JPEG decoder was tried (simplejpeg): the same pixels, and no gain once a photo is also scaled and cropped.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import numpy as np

from ssl_jax.data.image.pixels import Range
from ssl_jax.data.image.planes import count, planes, resized

MAX_PIXELS = 89_478_485  # where Pillow itself starts to warn of decompression bombs
MIN_SIDE = 8  # a picture one pixel high would be blown up to stripes
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM")  # Pillow also has parsers that start programs
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = (0, 3, 1, 5, 4, 6, 2)  # Pillow's transposition (`Image.Transpose`) that undoes EXIF's orientation 2, 3, ... 8
_SIDEWAYS = (5, 6, 7, 8)  # orientations that change width and height
_WIDE = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")  # one channel of 16-bit or 32-bit numbers


def decode_image(
    data: bytes, size: int, channels: int = 3, max_pixels: int = MAX_PIXELS, pixels: Range | None = None
) -> np.ndarray:
    """An encoded picture as uint8 [size, size, channels].

    The central square is scaled to `size` with an antialiased bicubic filter. Grey, palette and CMYK pictures are
    converted, transparency is laid on white, and the rotation that EXIF says is applied. 16-bit, 32-bit and float pictures are
    brought to 8 bits by `pixels`, the numbers that are black and white in them. Of other numbers of `channels` than 1 and 3 only
    pictures that have as many are read, as they are (`data/image/planes.py`).

    Raises:
      ValueError, OSError, SyntaxError: not a picture, truncated, more than `max_pixels`, a side below 8 pixels, or
        values that are not 8-bit (16-bit and float pictures) without `pixels`, or outside of them.
    """
    from PIL import Image

    picture = _opened(data)
    width, height = picture.size
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height} picture: more than {max_pixels} pixels")
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"{width}x{height} picture: the shorter side must be at least {MIN_SIDE} pixels")
    scale = pixels if picture.mode in _WIDE else None
    if picture.mode not in _MODES and scale is None:
        raise ValueError(f"mode {picture.mode} picture among 8-bit ones: set `pixels` to what is black and white in it")
    turn = orientation(picture)
    picture.draft(None, (2 * size, 2 * size))  # a JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves twice `size`
    picture = upright(picture, turn)
    width, height = (height, width) if turn in _SIDEWAYS else (width, height)
    x, y = picture.size[0] / width, picture.size[1] / height
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left * x, top * y, (left + side) * x, (top + side) * y)
    if channels not in (1, 3):
        return np.stack([resized(plane, size, box, pixels) for plane in planes(picture, channels)], axis=-1)
    if scale is not None:
        grey = Image.fromarray(255 * scale.unit(np.asarray(picture)))
        square = np.asarray(grey.resize((size, size), Image.Resampling.BICUBIC, box))
        return np.repeat(np.clip(np.rint(square), 0, 255).astype(np.uint8)[..., None], channels, axis=2)
    square = _opaque(picture).convert({1: "L", 3: "RGB"}[channels]).resize((size, size), Image.Resampling.BICUBIC, box)
    return np.array(square).reshape(size, size, channels)


def wide_values(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray | None:
    """The numbers of a picture that is not 8-bit; None where it is.

    Raises what `decode_image` does.
    """
    picture = _opened(data)
    if picture.mode not in _WIDE or picture.size[0] * picture.size[1] > max_pixels:
        return None
    return np.asarray(picture)


def channels_of(data: bytes) -> int:
    """How many channels a picture has. Raises what `decode_image` does for what is none."""
    return count(_opened(data))


def orientation(picture: Any) -> int:
    """Which of EXIF's eight orientations an opened picture has, 1 to 8; 1 is upright, and what Pillow turns itself (TIFF)."""
    with suppress(Exception):  # a picture with damaged EXIF is a picture
        found = 1 if picture.format == "TIFF" else int(picture.getexif().get(_ORIENTATION, 1))
        return found if 1 <= found <= 8 else 1
    return 1


def upright(picture: Any, turn: int) -> Any:
    """The picture of orientation `turn` as it is to be seen."""
    return picture if turn == 1 else picture.transpose(_TURNS[turn - 2])


def _opened(data: bytes) -> Any:
    """The picture, of which only the header was read."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"not a picture in any of the formats {', '.join(_FORMATS)}") from error


def _opaque(picture: Any) -> Any:
    """The picture without its alpha channel: what is behind it is white."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
