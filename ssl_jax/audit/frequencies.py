"""Perceptual hashes as numbers: the low frequencies of a small grey picture, whitened, compared by their cosine.

pHash (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010) keeps the signs of the same
coefficients. Their values tell more for the same price: two hashes are compared by one row of a matrix product.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SIDE = 32  # of a thumbnail
PRIOR = 100  # pictures that the usual spectrum of pictures counts as, beside those that are there

Box = tuple[float, float, float, float]  # top, left, height, width as fractions of a picture
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@lru_cache(maxsize=4096)
def resampling(source: int, target: int, start: float = 0.0, length: float = 1.0) -> np.ndarray:
    """Weights float32 [target, source] that resample the part `start .. start + length` of an axis with a triangle filter,
    widened where it shrinks (antialias); rows sum to 1."""
    step = source * length / target
    centre = source * start + (np.arange(target) + 0.5)[:, None] * step
    weight = np.maximum(1 - np.abs(np.arange(source) + 0.5 - centre) / max(step, 1.0), 0)
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """Pictures [..., H, W] as [..., side, side], the whole of each squeezed into the square."""
    rows, columns = (resampling(n, side) for n in images.shape[-2:])
    return rows @ images @ columns.T


@lru_cache(maxsize=64)
def cosines(count: int, box: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """The first `count` cosines of the DCT, on the part `box` (start, length) of an axis of a thumbnail: [count, SIDE]."""
    place = (np.arange(SIDE) + 0.5) / SIDE
    waves = np.cos(np.pi * np.arange(count)[:, None] * place)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    return (waves @ resampling(SIDE, SIDE, *box)).astype(np.float32)


def frequencies(thumbs: np.ndarray, count: int, box: Box = WHOLE) -> np.ndarray:
    """Coefficients [N, count^2 - 1] of the part `box` of thumbnails [N, SIDE, SIDE], without the mean, of length 1.

    A flat picture has none: zeros.
    """
    top, left, height, width = box
    found = cosines(count, (top, height)) @ thumbs.astype(np.float32) @ cosines(count, (left, width)).T
    return unit(found.reshape(len(thumbs), -1)[:, 1:])


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1; those of nearly nothing become zeros."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.where(length > 1e-3, x / np.maximum(length, 1e-3), 0).astype(np.float32)


def spread(coefficients: np.ndarray, count: int) -> np.ndarray:
    """How much each coefficient varies over pictures, [count^2 - 1]: that of these pictures and, where they are few, the usual
    one, which falls with the frequency.

    Divided by it, all frequencies say equally much: what tells two garments of one cut apart is in the high ones.
    """
    rows, columns = np.divmod(np.arange(1, count * count), count)
    usual = 1 / (rows**2 + columns**2)
    usual = usual / usual.sum()
    energy = (np.square(coefficients, dtype=np.float64).sum(axis=0) + PRIOR * usual) / (len(coefficients) + PRIOR)
    return np.sqrt(energy).astype(np.float32)


def mirror_signs(count: int) -> np.ndarray:
    """What mirroring a picture left to right does to its coefficients [count^2 - 1]: those of odd columns change their sign."""
    return np.where(np.arange(1, count * count) % count % 2, -1, 1).astype(np.float32)
