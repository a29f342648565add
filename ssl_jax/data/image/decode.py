"""Encoded pictures -> uint8 arrays: what people have lying about becomes [H, W, C], upright and 8-bit.

A JPEG is decoded by simplejpeg, where that is installed, and otherwise, as PNG and WebP are, by OpenCV. They are given only
what they read as Pillow does; Pillow reads everything else, and alone says of a picture that it cannot be read.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import numpy as np

from ssl_jax.data.image.pixels import Range
from ssl_jax.data.image.planes import count, planes
from ssl_jax.data.image.resize import central_square
from ssl_jax.data.optional import optional, versioned

MAX_PIXELS = 89_478_485  # where Pillow itself starts to warn of decompression bombs
MIN_SIDE = 8  # a picture one pixel high would be blown up to stripes
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM")  # Pillow also has parsers that start programs
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_JPEG = b"\xff\xd8\xff"
_PLAIN_SPACES = ("RGB", "YCbCr", "Gray", "GRAY")  # of a JPEG; what remains is kinds of CMYK
_OPENCV = ("JPEG", "PNG", "WEBP")  # formats that OpenCV decodes faster, to the same pixels
_APP1, _SCAN = 0xE1, 0xDA  # segments of a JPEG: what EXIF and XMP lie in, and where the pixels begin
_ORIENTATION = 0x0112  # EXIF's tag
_TURNS = (0, 3, 1, 5, 4, 6, 2)  # Pillow's transposition (`Image.Transpose`) that undoes EXIF's orientation 2, 3, ... 8
_WIDE = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")  # one channel of 16-bit or 32-bit numbers


def decode_image(
    data: bytes, size: int, channels: int = 3, max_pixels: int = MAX_PIXELS, pixels: Range | None = None
) -> np.ndarray:
    """The central square of an encoded picture, scaled to uint8 [size, size, channels] with an antialiased bicubic filter.

    Else as `decoded`, but that a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that leaves twice `size`.
    """
    return central_square(decoded(data, channels, max_pixels, pixels, at_least=2 * size), size)


def decoded(
    data: bytes,
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
    pixels: Range | None = None,
    at_least: int | None = None,
) -> np.ndarray:
    """All of an encoded picture as uint8 [H, W, channels].

    Grey, palette and CMYK pictures are converted, transparency is laid on white, and the rotation that EXIF says is applied.
    16-bit, 32-bit and float pictures are brought to 8 bits by `pixels`, the numbers that are black and white in them. With
    `at_least`, a JPEG may come at 1/2, 1/4 or 1/8 of its size, no side shorter than that. Of other numbers of `channels` than 1
    and 3 only pictures that have as many are read, as they are (`data/image/planes.py`).

    Raises:
      ValueError, OSError, SyntaxError: not a picture, truncated, more than `max_pixels`, a side below 8 pixels, or
        values that are not 8-bit (16-bit and float pictures) without `pixels`, or outside of them.
    """
    fast = _by_simplejpeg(data, channels, max_pixels, at_least) if channels in (1, 3) else None
    return _by_pillow(data, channels, max_pixels, pixels, at_least) if fast is None else fast


def wide_values(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray | None:
    """The numbers of a picture that is not 8-bit; None where it is.

    Raises what `decoded` does.
    """
    picture = opened(data)
    if picture.mode not in _WIDE or picture.size[0] * picture.size[1] > max_pixels:
        return None
    return np.asarray(picture)


def decoders() -> dict[str, str]:
    """Which library decodes what, with its version, on this machine."""
    pillow = versioned("pillow")
    opencv = pillow if optional("cv2") is None else versioned("opencv-python-headless")
    jpeg = opencv if optional("simplejpeg") is None else versioned("simplejpeg")
    return {"JPEG": jpeg, "PNG and WebP": opencv, "others": pillow}


def _by_simplejpeg(data: bytes, channels: int, max_pixels: int, at_least: int | None) -> np.ndarray | None:
    """A sound JPEG of permitted size; None for anything else."""
    simplejpeg = optional("simplejpeg")
    if simplejpeg is None or not data.startswith(_JPEG):
        return None
    with suppress(ValueError):
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if min(height, width) >= MIN_SIDE and height * width <= max_pixels and space in _PLAIN_SPACES:
            by = 1 if at_least is None else _shrunk_by(min(height, width), at_least)
            sides = {"min_height": -(-height // by), "min_width": -(-width // by)}
            picture = simplejpeg.decode_jpeg(data, "RGB" if channels == 3 else "GRAY", **sides)
            return _turned(picture, orientation(opened(data))) if _may_be_turned(data) else picture
    return None


def _shrunk_by(side: int, at_least: int) -> int:
    """The power of two, 8 at most, by which a side may be divided; as Pillow's `draft` has it."""
    return next(power for power in (8, 4, 2, 1) if side // at_least >= power or power == 1)


def _by_opencv(picture: Any, data: bytes, channels: int) -> np.ndarray | None:
    """What OpenCV reads as Pillow does: an opaque 8-bit `picture` of three formats; None for anything else, and damaged ones."""
    cv2, seen = optional("cv2"), picture.format == "JPEG" and optional("simplejpeg") is not None  # and refused
    plain = picture.format in _OPENCV and picture.mode in ("RGB", "L") and not picture.has_transparency_data
    if cv2 is None or seen or not plain:
        return None
    kind = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
    found = cv2.imdecode(np.frombuffer(data, np.uint8), kind | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if found is None else found.reshape(*found.shape[:2], channels)


def _by_pillow(data: bytes, channels: int, max_pixels: int, pixels: Range | None, at_least: int | None) -> np.ndarray:
    picture = opened(data)
    width, height = picture.size
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height} picture: more than {max_pixels} pixels")
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"{width}x{height} picture: the shorter side must be at least {MIN_SIDE} pixels")
    if picture.mode not in _MODES and (pixels is None or picture.mode not in _WIDE):
        raise ValueError(
            f"mode {picture.mode} picture among 8-bit ones: set `pixels` of the source to what is black and white in it, such as "
            "(0, 65535); the others stay as they are"
        )
    turn = orientation(picture)
    if at_least is not None:
        picture.draft(None, (at_least, at_least))
    if channels not in (1, 3):
        return _turned(planes(picture, channels, pixels), turn)
    if picture.size == (width, height) and (fast := _by_opencv(picture, data, channels)) is not None:
        return _turned(fast, turn)
    picture = upright(picture, turn)
    if pixels is not None and picture.mode in _WIDE:
        grey = np.rint(255 * pixels.unit(np.asarray(picture))).astype(np.uint8)
        return np.repeat(grey[..., None], channels, axis=2)
    found = np.array(_opaque(picture).convert({1: "L", 3: "RGB"}[channels]))
    return found.reshape(*found.shape[:2], channels)


def channels_of(data: bytes) -> int:
    """How many channels a picture has. Raises what `decoded` does for what is none."""
    return count(opened(data))


def orientation(picture: Any) -> int:
    """Which of EXIF's eight orientations an opened picture has, 1 to 8; 1 is upright, and what Pillow turns itself (TIFF)."""
    with suppress(Exception):  # a picture with damaged EXIF is a picture
        found = 1 if picture.format == "TIFF" else int(picture.getexif().get(_ORIENTATION, 1))
        return found if 1 <= found <= 8 else 1
    return 1


def upright(picture: Any, turn: int) -> Any:
    """The picture of orientation `turn` as it is to be seen."""
    return picture if turn == 1 else picture.transpose(_TURNS[turn - 2])


def _may_be_turned(data: bytes) -> bool:
    """Whether a JPEG has EXIF or XMP. Looks at the heads of its segments only, as far as the pixels."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] not in (_APP1, _SCAN):
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place + 4 > len(data) or data[place + 1] != _SCAN


def _turned(x: np.ndarray, turn: int) -> np.ndarray:
    """As `upright`, for an array [H, W, C]."""
    x = x.swapaxes(0, 1) if turn >= 5 else x
    down, right = turn in (3, 4, 7, 8), turn in (2, 3, 6, 7)
    return np.ascontiguousarray(x[:: -1 if down else 1, :: -1 if right else 1])


def opened(data: bytes) -> Any:
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
