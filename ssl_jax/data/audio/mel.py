"""Mel filter banks: matrices from the frequencies of a Fourier transform to bands, by the scale that a library draws them on.

`kaldi` and `htk` agree on the scale (D. O'Shaughnessy 1987: 2595 log10(1 + f / 700)); Kaldi's triangles are straight in mel,
those of HTK's users (torchaudio's default) in hertz. `slaney` (M. Slaney 1998, "Auditory Toolbox") is linear below 1000 Hz, and
its triangles have equal areas (librosa's default).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

_BREAK, _BELOW, _STEP = 1000.0, 200.0 / 3, np.log(6.4) / 27  # of Slaney's scale: hertz, hertz a mel, log-hertz a mel


def htk(hertz: np.ndarray) -> np.ndarray:
    """Hertz -> mel.

    >>> round(float(htk(np.array(1000.0))), 1)
    1000.0
    """
    return 2595 * np.log10(1 + hertz / 700)


def htk_inverse(mel: np.ndarray) -> np.ndarray:
    """Mel -> hertz."""
    return 700 * (10 ** (mel / 2595) - 1)


def slaney(hertz: np.ndarray) -> np.ndarray:
    """Hertz -> mel.

    >>> float(slaney(np.array(1000.0)))
    15.0
    """
    above = _BREAK / _BELOW + np.log(np.maximum(hertz, _BREAK) / _BREAK) / _STEP
    return np.where(hertz < _BREAK, hertz / _BELOW, above)


def slaney_inverse(mel: np.ndarray) -> np.ndarray:
    """Mel -> hertz."""
    knee = _BREAK / _BELOW
    return np.where(mel < knee, mel * _BELOW, _BREAK * np.exp(_STEP * (np.maximum(mel, knee) - knee)))


def kaldi_bank(rate: int, size: int, bands: int, low: float, high: float) -> np.ndarray:
    """Triangles on the HTK scale that are straight there, of height 1."""
    edges = np.linspace(htk(np.array(low)), htk(np.array(high)), bands + 2)
    return triangles(htk(frequencies(rate, size)), edges)


def htk_bank(rate: int, size: int, bands: int, low: float, high: float) -> np.ndarray:
    """Triangles between points of the HTK scale, straight in hertz, of height 1."""
    return triangles(frequencies(rate, size), _edges(htk, htk_inverse, bands, low, high))


def slaney_bank(rate: int, size: int, bands: int, low: float, high: float) -> np.ndarray:
    """Triangles between points of Slaney's scale, straight in hertz, of area 1."""
    edges = _edges(slaney, slaney_inverse, bands, low, high)
    return triangles(frequencies(rate, size), edges) * 2 / (edges[2:] - edges[:-2])


BANKS: dict[str, Callable[[int, int, int, float, float], np.ndarray]] = {
    "kaldi": kaldi_bank,
    "htk": htk_bank,
    "slaney": slaney_bank,
}


@functools.cache
def bank(name: str, rate: int, size: int, bands: int, low: float, high: float) -> np.ndarray:
    """The bank float32 [size / 2 + 1, bands] of a transform of `size` samples, from `low` to `high` hertz."""
    return BANKS[name](rate, size, bands, low, high).astype(np.float32)


def frequencies(rate: int, size: int) -> np.ndarray:
    """Hertz of each of the size / 2 + 1 values of a transform of `size` real samples."""
    return np.arange(size // 2 + 1) * rate / size


def triangles(places: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """[K, N]: at `places` [K] the triangle that rises from edge n to n + 1 and falls to n + 2, of N + 2 `edges`.

    >>> triangles(np.arange(5.0), np.array([0.0, 2.0, 4.0]))[:, 0].tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    at, widths = places[:, None], np.diff(edges)
    rising, falling = (at - edges[:-2]) / widths[:-1], (edges[2:] - at) / widths[1:]
    return np.maximum(0, np.minimum(rising, falling))


def _edges(scale: Callable, inverse: Callable, bands: int, low: float, high: float) -> np.ndarray:
    return inverse(np.linspace(scale(np.array(low)), scale(np.array(high)), bands + 2))
