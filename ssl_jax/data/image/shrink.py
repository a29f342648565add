"""Pictures made smaller once, so that reading and decoding them costs less every time after."""

from __future__ import annotations

import io
from typing import Any

from ssl_jax.data.image.decode import MAX_PIXELS, MIN_SIDE, opened, orientation, upright

QUALITY = 92  # of JPEGs that are written
_LOSSY = ("JPEG", "WEBP", "AVIF")
_EIGHT_BITS = {"1": "L", "L": "L", "RGB": "RGB", "YCbCr": "RGB", "CMYK": "RGB"}


def shrunk(data: bytes, short_side: int | None, max_pixels: int = MAX_PIXELS) -> bytes:
    """An encoded picture whose shorter side has `short_side` pixels at most: the same bytes, unless it is larger.

    A larger one is scaled with an antialiased bicubic filter, turned as EXIF says, and written as JPEG of quality 92 if it came
    in a lossy format and is opaque, and else as PNG. Pictures of 16 bits, 32 bits and floats stay as they are.

    Raises:
      ValueError, OSError, SyntaxError: not a picture, truncated, more than `max_pixels`, or a side below 8 pixels.
    """
    picture = opened(data)
    width, height = picture.size
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height} picture: more than {max_pixels} pixels")
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"{width}x{height} picture: the shorter side must be at least {MIN_SIDE} pixels")
    picture.load()  # all of it, so that what is kept can be read
    if short_side is None or min(width, height) <= short_side or _wide(picture):
        return data
    return _written(_scaled(picture, short_side), picture.format in _LOSSY)


def as_png(pixels: Any) -> bytes:
    """Pixels uint8 [H, W, C] with 1 or 3 channels as a PNG."""
    from PIL import Image

    return _saved(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), "PNG")


def _wide(picture: Any) -> bool:
    return picture.mode not in _EIGHT_BITS and picture.mode not in ("P", "PA", "LA", "RGBA")


def _scaled(picture: Any, short_side: int) -> Any:
    from PIL import Image

    mode = "RGBA" if picture.has_transparency_data else _EIGHT_BITS.get(picture.mode, "RGB")
    factor = short_side / min(picture.size)
    size = tuple(round(side * factor) for side in picture.size)
    return upright(picture.convert(mode).resize(size, Image.Resampling.BICUBIC), orientation(picture))


def _written(picture: Any, lossy: bool) -> bytes:
    if lossy and picture.mode != "RGBA":
        return _saved(picture, "JPEG", quality=QUALITY)
    return _saved(picture, "PNG")


def _saved(picture: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
