"""A box of a picture -> another size, on the host: uint8 in, uint8 out.

`antialias` widens the filter where the picture shrinks, as Pillow and torchvision do: by cykooz-resizer, which has Pillow's
filters in SIMD (equal within a rounding to 8 bits), or by Pillow itself. `fast` is OpenCV's filter of the same name, which
reads the same few pixels however much the picture shrinks; docs/results/input.md has its error.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

from ssl_jax.data.image.boxes import Box
from ssl_jax.data.optional import optional, versioned
from ssl_jax.errors import UserError

MODES = ("antialias", "fast")
Size = tuple[int, int]  # rows and columns
Within = tuple[float, float, float, float]  # left, top, width, height: a part of a picture, by fractions of a pixel
_ours = threading.local()  # a resizer serves one thread at a time


def resized(image: np.ndarray, box: Box, size: Size, method: str, mode: str = "antialias") -> np.ndarray:
    """The `box` of `image` uint8 [H, W, C] as uint8 [*size, C]; `method` is "bilinear" or "bicubic", `mode` one of `MODES`.

    Nothing outside of the box is read.
    """
    top, left, height, width = box
    cut = image[top : top + height, left : left + width]
    if (height, width) == size:
        return cut.copy()
    return _fast(cut, size, method) if mode == "fast" else antialiased(cut, size, method)


def central_square(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of `image` uint8 [H, W, C] as uint8 [size, size, C]: antialiased, bicubic."""
    (height, width), side = image.shape[:2], min(image.shape[:2])
    if side == size and (height - width) % 2 == 0:
        return resized(image, ((height - side) // 2, (width - side) // 2, side, side), (size, size), "bicubic")
    return antialiased(image, (size, size), "bicubic", ((width - side) / 2, (height - side) / 2, side, side))


def antialiased(image: np.ndarray, size: Size, method: str, within: Within | None = None) -> np.ndarray:
    """`within` of `image` uint8 [H, W, C] (or all of it) as uint8 [*size, C], antialiased."""
    simd = optional("cykooz_resizer") is not None and image.shape[2] <= 4
    return (by_cykooz if simd else by_pillow)(image, size, method, within)


def by_cykooz(image: np.ndarray, size: Size, method: str, within: Within | None = None) -> np.ndarray:
    """`antialiased` for up to four channels, by cykooz-resizer."""
    cykooz, (height, width, channels) = optional("cykooz_resizer"), image.shape
    kind = getattr(cykooz.PixelType, "U8" if channels == 1 else f"U8x{channels}")
    source, target = cykooz.ImageData(width, height, kind, image.tobytes()), cykooz.ImageData(size[1], size[0], kind)
    if not hasattr(_ours, "resizer"):
        _ours.resizer = cykooz.Resizer()
    _ours.resizer.resize(source, target, _options(method, within))
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(*size, channels)


def by_pillow(image: np.ndarray, size: Size, method: str, within: Within | None = None) -> np.ndarray:
    """`antialiased` for any number of channels, by Pillow."""
    from PIL import Image

    if image.shape[2] not in (1, 3):
        planes = [by_pillow(image[:, :, [c]], size, method, within) for c in range(image.shape[2])]
        return np.concatenate(planes, axis=2)
    picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    box = None if within is None else (*within[:2], within[0] + within[2], within[1] + within[3])
    found = picture.resize(size[::-1], getattr(Image.Resampling, method.upper()), box)
    return np.asarray(found).reshape(*size, image.shape[2])


def kernel(mode: str) -> str:
    """Which library resizes in this mode, with its version."""
    if mode == "fast":
        return f"{versioned('opencv-python-headless')}, not antialiased"
    simd = optional("cykooz_resizer") is not None
    return f"{versioned('cykooz-resizer' if simd else 'pillow')}, antialiased"


def require(mode: str) -> None:
    """UserError where this machine cannot resize so."""
    if mode == "fast" and optional("cv2") is None:
        raise UserError("data.resize=fast needs OpenCV, which is not installed: pip install ssl_jax[image]")


@functools.lru_cache(maxsize=64)
def _options(method: str, within: Within | None) -> Any:
    cykooz = optional("cykooz_resizer")
    name = {"bilinear": "bilinear", "bicubic": "catmull_rom"}[method]  # Pillow's bicubic has a = -0.5
    chosen = cykooz.ResizeAlg.convolution(getattr(cykooz.FilterType, name))
    box = None if within is None else cykooz.CropBox(*within)
    return cykooz.ResizeOptions(resize_alg=chosen, crop_box=box, use_alpha=False)


def _fast(image: np.ndarray, size: Size, method: str) -> np.ndarray:
    cv2 = optional("cv2")
    filters = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
    return cv2.resize(image, size[::-1], interpolation=filters[method]).reshape(*size, -1)
