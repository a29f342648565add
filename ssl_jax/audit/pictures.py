"""The picture of a record as people would compare it: whole and upright where it lies encoded, else as the source gives it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ssl_jax.data.bad import BadRecord
from ssl_jax.errors import UserError

THREADS = 2
CHUNK = 512  # records that are in memory at a time

Loaded = np.ndarray | BadRecord


def chunks(source: Any, key: str = "image") -> Iterator[tuple[np.ndarray, Sequence[Any]]]:
    """The ids [n] and pictures [H, W, C] of all records in order; a `BadRecord` where one cannot be read."""
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(source), CHUNK):
            ids = np.arange(start, min(start + CHUNK, len(source)))
            yield ids, list(_batch(source, ids, key) if _at_once(source) else pool.map(_reader(source, key), ids))


def picture(source: Any, index: int, key: str = "image") -> np.ndarray:
    """The picture [H, W, C] of one record. Raises what its decoder does, and UserError for a record without pictures."""
    return decoded(source.encoded(index)["image"]) if _is_encoded(source) else _checked(source[index].get(key), key)


def decoded(data: bytes) -> np.ndarray:
    """All pixels [H, W, C] of an encoded picture, upright, with white behind what is transparent: uint8, or wider numbers."""
    from PIL import Image

    from ssl_jax.data.image.decode import MAX_PIXELS, orientation, upright, wide_values

    wide = wide_values(data)
    if wide is not None:
        return wide[..., None]
    found = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"))
    if found.width * found.height > MAX_PIXELS:
        raise ValueError(f"{found.width}x{found.height} picture: more than {MAX_PIXELS} pixels")
    shown = upright(found, orientation(found))
    if shown.has_transparency_data:
        shown = shown.convert("RGBA")
        shown = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    return np.asarray(shown.convert("L" if shown.mode in ("1", "L") else "RGB")).reshape(shown.height, shown.width, -1)


def name_of(source: Any, index: int) -> str:
    """What a person calls the record."""
    return str(source.name_of(index)) if hasattr(source, "name_of") else str(index)


def _reader(source: Any, key: str) -> Callable[[int], Loaded]:
    def read(index: int) -> Loaded:
        try:
            return picture(source, int(index), key)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # whatever a decoder raises on a damaged file
            return BadRecord(int(index), name_of(source, int(index)), f"{type(error).__name__}: {error}")

    return read


def _batch(source: Any, ids: np.ndarray, key: str) -> np.ndarray:
    return _checked(source.batch(ids).get(key), key, axes=4)


def _checked(images: Any, key: str, axes: int = 3) -> np.ndarray:
    found = None if images is None else np.asarray(images)
    if found is None or found.ndim != axes:
        shape = "no such field" if found is None else f"shape {found.shape}"
        raise UserError(f"field {key!r}: {shape}; an audit compares pictures [H, W, C], name their field with --key")
    return found


def _is_encoded(source: Any) -> bool:
    return hasattr(source, "encoded")


def _at_once(source: Any) -> bool:
    return hasattr(source, "batch") and not _is_encoded(source)
