"""Compressed pictures -> static uint8 arrays, with Pillow.

A faster JPEG decoder was tried (simplejpeg): the same pixels, and no gain once a photo is also scaled and cropped.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ssl_jax.data.image.pixels import Range

MAX_PIXELS = 89_478_485  # where Pillow itself starts to warn of decompression bombs
MIN_SIDE = 8  # a picture one pixel high would be blown up to stripes
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # Pillow also has parsers that start programs
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_WIDE = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")  # one channel of 16-bit or 32-bit numbers


def decode_image(
    data: bytes, size: int, channels: int = 3, max_pixels: int = MAX_PIXELS, pixels: Range | None = None
) -> np.ndarray:
    """An encoded picture as uint8 [size, size, channels].

    The central square is scaled to `size` with an antialiased bicubic filter. Grey, palette and CMYK pictures are
    converted, transparency is laid on white; EXIF rotation is not applied. 16-bit, 32-bit and float pictures are brought to 8
    bits by `pixels`, the numbers that are black and white in them.

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
        raise ValueError(
            f"mode {picture.mode} picture among 8-bit ones: set `pixels` of the source to what is black and white in it, such as "
            "(0, 65535); the others stay as they are"
        )
    picture.draft(None, (2 * size, 2 * size))  # a JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves twice `size`
    x, y = picture.size[0] / width, picture.size[1] / height
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left * x, top * y, (left + side) * x, (top + side) * y)
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
