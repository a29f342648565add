"""How a part of a pair becomes arrays: a picture, a sound, a clip or a text, each by what decodes it elsewhere too."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np

from ssl_jax.data.audio.decode import Wanted, stretch
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.pictures import Decoding
from ssl_jax.data.stages import stage
from ssl_jax.data.video import decode as video

# Where a part is looked for when nobody says it: these columns of a table, or files with these suffixes.
COLUMNS = {
    "image": ("image", "path", "file_name"),
    "sound": ("sound", "audio", "speech"),
    "text": ("text", "caption", "captions"),
    "clip": ("clip", "video"),
}
SUFFIXES = {
    "image": ("jpg", "jpeg", "png", "webp", "jfif", "avif", "bmp", "gif", "tif", "tiff", "ppm", "pgm"),
    "sound": ("wav", "flac", "ogg", "oga", "opus", "mp3"),
    "text": ("txt", "text", "caption"),
    "clip": ("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "flv", "ogv", "3gp", "gif"),
}
TEXT, SOUND, CLIP = "text", "sound", "clip"


def is_text(field: str) -> bool:
    """Whether a field holds texts: all do but those that are called otherwise."""
    return field not in COLUMNS or field == TEXT


def number_of(content: bytes) -> np.ndarray:
    """An int32 from 0 that the same contents have in common, and others by one chance in 2^31."""
    return np.asarray(zlib.crc32(content) & 0x7FFFFFFF, np.int32)


def numbers_of(content: bytes) -> np.ndarray:
    """Two int32 that other contents have by no chance that counts."""
    return np.frombuffer(hashlib.blake2b(content, digest_size=8).digest(), np.int32).copy()


@dataclass(frozen=True)
class Pictures:
    """`image` uint8 [size, size, channels]."""

    decoding: Decoding

    def __call__(self, content: bytes) -> Record:
        """Raises what `decode_image` does."""
        with stage("decode"):
            return {"image": self.decoding(content)}

    @property
    def zeros(self) -> Record:
        """A record of none."""
        return {"image": np.zeros((self.decoding.size, self.decoding.size, self.decoding.channels), np.uint8)}


@dataclass(frozen=True)
class Sounds:
    """`wave` float32 [rate * seconds] of one channel, cut or followed by zeros; `valid` bool says which samples are recorded."""

    rate: int
    seconds: float

    def __call__(self, content: bytes) -> Record:
        """ValueError for what is no sound."""
        with stage("decode"):
            return self._fitted(stretch(content, Wanted(self.rate, self._size), 0.0)[:, 0])

    @property
    def zeros(self) -> Record:
        """A record of none."""
        return self._fitted(np.zeros(0, np.float32))

    @property
    def _size(self) -> int:
        return round(self.rate * self.seconds)

    def _fitted(self, wave: np.ndarray) -> Record:
        free = self._size - len(wave)
        return {"wave": np.pad(wave, (0, free)), "valid": np.arange(self._size) < len(wave)}


@dataclass(frozen=True)
class Clips:
    """`clip` uint8 [frames, size, size, channels], spread evenly over a whole video."""

    decoding: video.Decoding
    frames: int

    def __call__(self, content: bytes) -> Record:
        """Raises what `clip` of `data/video/decode.py` does."""
        with stage("decode"):
            return {"clip": video.spread_over(content, self.frames, self.decoding)}

    @property
    def zeros(self) -> Record:
        """A record of none."""
        side = self.decoding.size
        return {"clip": np.zeros((self.frames, side, side, self.decoding.channels), np.uint8)}
