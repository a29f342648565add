"""Recordings in files -> stretches of waves: wav, flac, ogg, mp3 and what else libsndfile reads, at one rate.

Needs `pip install ssl_jax[audio]`: soundfile, and soxr where a recording has another rate.
"""

from __future__ import annotations

import importlib
import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.optional import versioned
from ssl_jax.errors import UserError

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
RESAMPLER = "soxr HQ"
_RATES = (1000, 1_536_000)  # of recordings; what a header says beyond that is damage
_SHORTEST = 0.005  # seconds
_MARGIN = 0.01  # seconds on either side of a stretch that the resampler's filter may see
_MOST = 1 << 27  # samples that are decoded at once: half a GiB of floats


Place = str | os.PathLike[str] | bytes  # where a recording is: a path, or its content itself


class Recording(NamedTuple):
    """What a header says: samples of each channel, samples a second, channels."""

    frames: int
    rate: int
    channels: int

    def length(self, rate: int) -> int:
        """Samples that it has at another rate."""
        return self.frames * rate // self.rate


class Wanted(NamedTuple):
    """What recordings become: samples a second, samples, and channels (1: the mean of all)."""

    rate: int
    size: int
    channels: int = 1


def require() -> None:
    """UserError where soundfile or soxr is not installed."""
    _library("soundfile")
    _library("soxr")


def libraries() -> str:
    """What decodes and resamples, with versions."""
    require()
    return f"decoded by {versioned('soundfile')}, resampled by {RESAMPLER} ({versioned('soxr')})"


def told(path: Place) -> Recording:
    """What the header of a file says. Raises what `opened` does."""
    with opened(path) as file:
        return _recording(file)


def stretch(path: Place, wanted: Wanted, place: float) -> np.ndarray:
    """A stretch of a recording, float32 [t, channels], or all of it where it is shorter; nothing else of it is decoded.

    `place` in [0, 1] says where: 0 at its start, 1 at its end. Raises what `opened` does, and ValueError for a recording that is
    shorter than its header says, holds what is no number, or has other channels.
    """
    with opened(path) as file:
        recording = _recording(file)
        room = max(0, recording.length(wanted.rate) - wanted.size)
        return _read(file, recording, wanted, round(room * place))


def stretch_at(path: Place, wanted: Wanted, start: int) -> np.ndarray:
    """The stretch that begins `start` samples after a recording does, fewer samples where it ends. Raises what `stretch` does."""
    with opened(path) as file:
        return _read(file, _recording(file), wanted, start)


@contextmanager
def opened(place: Place) -> Iterator[Any]:
    """A `soundfile.SoundFile` of a regular file, or of its content. ValueError or OSError where libsndfile does not read it."""
    library = _library("soundfile")
    content = io.BytesIO(place) if isinstance(place, bytes) else files.opened(place)  # closed by libsndfile
    try:
        file = library.SoundFile(content, closefd=True)
    except library.LibsndfileError as error:
        raise ValueError(f"no recording that can be read ({error.error_string})") from error
    with file:
        yield file


def in_channels(wave: np.ndarray, channels: int) -> np.ndarray:
    """A wave [T, C] with `channels`: the mean of all for 1; else ValueError unless it has as many."""
    if wave.shape[1] == channels:
        return wave
    if channels != 1:
        raise ValueError(f"{wave.shape[1]} channels, and {channels} are asked for")
    return wave.mean(axis=1, keepdims=True)


def _recording(file: Any) -> Recording:
    found = Recording(file.frames, file.samplerate, file.channels)
    if not _RATES[0] <= found.rate <= _RATES[1]:
        raise ValueError(f"its header says {found.rate} samples a second")
    if found.frames < _SHORTEST * found.rate:
        raise ValueError(f"{found.frames} samples, less than {1000 * _SHORTEST:g} ms")
    return found


def _read(file: Any, recording: Recording, wanted: Wanted, start: int) -> np.ndarray:
    """A stretch [t, channels]: a little more is decoded, so that resampling has no edges inside the recording, and from a place
    on where both rates have a sample, so that it is what the whole recording would give."""
    ratio, same = recording.rate / wanted.rate, recording.rate == wanted.rate
    margin, common = 0 if same else int(_MARGIN * wanted.rate) + 1, wanted.rate // math.gcd(wanted.rate, recording.rate)
    first = max(0, start - margin) // common * common
    last = min(start + wanted.size + margin, recording.length(wanted.rate))
    begin, end = first * recording.rate // wanted.rate, min(math.ceil(last * ratio), recording.frames)
    wave = in_channels(_decoded(file, begin, end - begin, recording), wanted.channels)
    resampled = wave if same else _library("soxr").resample(wave, recording.rate, wanted.rate, quality="HQ")
    return np.ascontiguousarray(resampled[start - first : start - first + wanted.size])


def _decoded(file: Any, begin: int, count: int, recording: Recording) -> np.ndarray:
    if count * recording.channels > _MOST:
        raise ValueError(f"{count} samples of {recording.channels} channels are more than are decoded at once")
    try:
        file.seek(begin)
        wave = file.read(count, dtype="float32", always_2d=True)
    except _library("soundfile").LibsndfileError as error:
        raise ValueError(f"it cannot be decoded ({error.error_string})") from error
    if len(wave) < count:
        raise ValueError(f"it ends after {begin + len(wave)} samples, and its header says {recording.frames}")
    if not np.isfinite(wave).all():
        raise ValueError("it holds NaN or infinity")
    return wave


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: soundfile without libsndfile
        raise UserError(f"recordings need {name} ({error}); pip install ssl_jax[audio]") from error
