"""Encoded video -> uint8 clips: the frames that are on the screen at given times, upright and with square pixels.

PyAV decodes. A clip is read from the last key frame before it, and no further than it goes. What is no video, or more than may be
decoded, raises ValueError or OSError; nothing is waited for without an end.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import time as clock
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.image.decode import MIN_SIDE
from ssl_jax.data.optional import optional
from ssl_jax.errors import UserError

MAX_PIXELS = 4096 * 2304  # of a frame, 4K; a decoder holds several
MAX_FRAMES = 20_000  # decoded for one clip: eleven minutes at 30 a second without a key frame
MAX_SECONDS = 60.0  # for one clip, whatever takes them
SLACK = 1.0  # seconds by which frames may end before the head of the file says
_BACK = (0.0, 2.0, 10.0)  # seconds to seek before the place: formats without an index find a later one
_SAME = 1e-6  # seconds
_UNTIMED = ("mpeg",)  # formats in which most frames have no time of their own, so that they are counted from the first
# What holds videos, in FFmpeg's names. Its other formats may name further files and addresses, and it would open those.
_FORMATS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,gif"
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}


@dataclass(frozen=True)
class Decoding:
    """How frames become pixels.

    size: side of their central square, once the shorter side is scaled to it.
    channels: 3 (RGB) or 1 (grey).
    max_pixels: videos whose frames have more are refused.
    """

    size: int
    channels: int = 3
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.size < 1 or self.channels not in (1, 3):
            raise UserError(f"size={self.size}, channels={self.channels}: use a positive size and 1 or 3 channels")


class Frame(NamedTuple):
    """A frame of PyAV, decoded and not yet in pixels, and the seconds from the first one until it appears."""

    time: float
    picture: Any


def library() -> Any:
    """PyAV. UserError where it is not installed."""
    found = optional("av")
    if found is None:
        raise UserError("videos are decoded by PyAV, which is not installed: pip install 'ssl_jax[video]'")
    return found


def clip(path: str | Path, times: Sequence[float] | np.ndarray, decoding: Decoding) -> np.ndarray:
    """The frames uint8 [T, size, size, channels] that are on the screen at `times`, in seconds from the first one, which rise.

    After the last frame, that one is.

    Raises:
      ValueError, OSError: no video, no frames, damaged ones, or more than may be decoded.
    """
    for back in itertools.takewhile(lambda back: back < times[0], _BACK):
        with suppress(_TooLate):
            return _read(path, times, decoding, times[0] - back)
    return _read(path, times, decoding, None)


def spread_over(content: bytes, frames: int, decoding: Decoding) -> np.ndarray:
    """A whole encoded video as a clip uint8 [frames, size, size, channels]: what is on the screen in the middle of so many equal
    parts of its time. Raises what `clip` does.
    """
    with opened(content, decoding.max_pixels) as video:
        middles = (np.arange(frames) + 0.5) / frames * video.seconds
        return _taken(video, video.frames(), middles.tolist(), decoding)


def _read(path: str | Path, times: Sequence[float] | np.ndarray, decoding: Decoding, since: float | None) -> np.ndarray:
    with opened(path, decoding.max_pixels) as video:
        wanted = np.minimum(times, video.seconds).tolist()
        frames = video.frames() if since is None else video.sought(since, wanted[0])
        return _taken(video, frames, wanted, decoding)


def _taken(video: Video, frames: Iterable[Frame], wanted: list[float], decoding: Decoding) -> np.ndarray:
    """Of `frames` those that are on the screen at the times `wanted`, as pixels [T, size, size, channels]."""
    found = np.empty((len(wanted), decoding.size, decoding.size, decoding.channels), np.uint8)
    for place, frame in zip(found, shown(bounded(frames), wanted, SLACK + 1 / video.rate), strict=True):
        place[...] = video.pixels(frame, decoding)
    return found


class _TooLate(ValueError):
    """The frames from the place that was sought begin after the first that is wanted, or not at all."""


@contextmanager
def opened(video: str | Path | bytes, max_pixels: int = MAX_PIXELS) -> Iterator[Video]:
    """The video at a path, or in bytes, while it is read. Raises (ValueError, OSError) for what is none, or is refused."""
    with _container(_place(video), max_pixels) as container:
        yield Video(container, max_pixels)


def _place(video: str | Path | bytes) -> Any:
    """What PyAV reads: bytes as a file, or the address of a regular file."""
    if isinstance(video, bytes):
        return io.BytesIO(video)
    os.close(files.opened(video))  # a regular file, or it raises
    return f"file:{os.path.abspath(video)}"  # a name may hold a colon


def _container(place: Any, max_pixels: int) -> Any:
    av, options = library(), _OPTIONS | {"max_pixels": str(max_pixels)}
    try:
        return av.open(place, options=options, timeout=MAX_SECONDS, metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise ValueError(f"no video in any of the formats {_FORMATS} ({error.strerror})") from error


class Video:
    """An opened video: its one track of moving pictures.

    seconds: how long it says it is. rate: frames a second, on average.
    """

    def __init__(self, container: Any, max_pixels: int) -> None:
        self._container, self._stream = container, moving_pictures(container)
        codec = self._stream.codec_context
        _require_sides(codec.width, codec.height, max_pixels)
        codec.thread_type, codec.thread_count = "NONE", 1  # records are decoded beside each other
        self._start = float((self._stream.start_time or 0) * self._stream.time_base)
        self._reformatter = library().video.reformatter.VideoReformatter()
        self.rate, self.seconds = _rate(self._stream), _seconds(container, self._stream)

    def frames(self) -> Iterator[Frame]:
        """Those that are still to come, in the order of time: all of them, after it was opened."""
        for picture in self._container.decode(self._stream):
            if picture.time is not None:
                yield Frame(picture.time - self._start, picture)

    def sought(self, place: float, since: float) -> Iterator[Frame]:
        """The frames from the last key frame before `place` (seconds). `_TooLate` where the first appears after `since`."""
        if self._container.format.name in _UNTIMED:
            raise _TooLate
        self._container.seek(math.floor((place + self._start) / self._stream.time_base), stream=self._stream)
        frames = self.frames()
        try:
            first = next(frames, None)
        except library().error.InvalidDataError as error:  # the place was none where a decoder can start
            raise _TooLate from error
        if first is None or first.time > since + _SAME:
            raise _TooLate
        yield from itertools.chain([first], frames)

    def pixels(self, frame: Frame, decoding: Decoding) -> np.ndarray:
        """A frame as uint8 [size, size, channels]. ValueError where it is damaged."""
        picture, size = frame.picture, decoding.size
        if picture.is_corrupt:
            raise ValueError(f"the frame at {frame.time:.2f} s is damaged")
        width, height = scaled_sides(picture.width, picture.height, self._stream.sample_aspect_ratio, size)
        method = "AREA" if height <= picture.height else "BICUBIC"  # as one enlarges, boxes would show
        kind = {1: "gray", 3: "rgb24"}[decoding.channels]
        scaled = self._reformatter.reformat(picture, width, height, kind, interpolation=method).to_ndarray()
        top, left = (height - size) // 2, (width - size) // 2
        square = scaled[top : top + size, left : left + size].reshape(size, size, -1)
        return np.rot90(square, round(picture.rotation / 90))


def moving_pictures(container: Any) -> Any:
    """The first track of a file that is no cover picture. ValueError where it has none."""
    cover = library().stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover and stream.codec_context is not None:
            return stream
    raise ValueError("it has no moving pictures")


def bounded(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The frames, as long as there are not too many and they do not take too long. ValueError then."""
    begun = clock.monotonic()
    for number, frame in enumerate(frames):
        if number == MAX_FRAMES or clock.monotonic() - begun > MAX_SECONDS:
            raise ValueError(
                f"{number} frames were decoded for one clip, in {clock.monotonic() - begun:.0f} s, and it goes on; encode the "
                "video again, with a key frame every few seconds"
            )
        yield frame


def shown(frames: Iterable[Frame], times: Sequence[float], slack: float) -> Iterator[Frame]:
    """For each of the `times`, which rise, the last frame that appears no later: what is on the screen then.

    ValueError where there are none, or they end more than `slack` seconds before.
    """
    frames = iter(frames)
    here, following = next(frames, None), next(frames, None)
    for time in times:
        while following is not None and following.time <= time + _SAME:
            here, following = following, next(frames, None)
        if here is None:
            raise ValueError("it has no frames")
        if following is None and time > here.time + slack:
            raise ValueError(f"its frames end at {here.time:.2f} s, and it says that they go on")
        yield here


def scaled_sides(width: int, height: int, aspect: Any, size: int) -> tuple[int, int]:
    """Columns and rows of a frame once pixels are square and the shorter side is `size`; `aspect` is theirs, width to height."""
    wide = width * float(aspect or 1)
    scale = size / min(wide, height)
    return max(size, round(wide * scale)), max(size, round(height * scale))


def _require_sides(width: int, height: int, max_pixels: int) -> None:
    if min(width, height) < MIN_SIDE or width * height > max_pixels:
        raise ValueError(
            f"frames of {width}x{height}: sides of {MIN_SIDE} pixels at least, and {max_pixels} pixels at most"
        )


def _rate(stream: Any) -> float:
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not 0 < rate < math.inf:
        raise ValueError("it does not say how many frames a second it has")
    return rate


def _seconds(container: Any, stream: Any) -> float:
    """How long a video says it is. ValueError where it does not."""
    own = stream.duration and float(stream.duration * stream.time_base)
    seconds = own or (container.duration or 0) / 1e6
    if not 0 < seconds < math.inf:
        raise ValueError("it does not say how long it is")
    return seconds
