"""`tools/benchmark_video`: how many frames a core decodes in a second, beside the plain loops of OpenCV and PyAV.

Rates are of processor time, in rounds that take turns, on one file, and of the same pixels: the central square of frames as RGB,
once the shorter side is scaled to so many pixels. Nobody decodes in more than one thread.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.benchmark.input import photo
from ssl_jax.benchmark.machine import processor
from ssl_jax.benchmark.timing import Reading, alternate, timed
from ssl_jax.data.optional import optional, versioned
from ssl_jax.data.video.decode import Decoding, clip, library
from ssl_jax.errors import UserError

HEIGHT, WIDTH, RATE = 360, 480, 30
CLIP, CLIPS = 32, 8  # frames of a clip, and how many of them are read at random places
_SINGLE = {"OPENCV_FFMPEG_CAPTURE_OPTIONS": "threads;1"}


@dataclass(frozen=True)
class Settings:
    """How many frames the file has, with a key frame in so many, and how many rounds there are."""

    frames: int = 240
    group: int = 30
    rounds: int = 7


class Work(NamedTuple):
    """Clips of `length` frames from each of `starts`, of squares of `side` pixels."""

    starts: tuple[int, ...]
    length: int
    side: int


def works(settings: Settings) -> dict[str, Work]:
    """What is read, by name."""
    starts = np.random.default_rng(0).integers(0, settings.frames - CLIP, CLIPS)
    return {
        "every frame, scaled": Work((0,), settings.frames, 128),
        "every frame, as large as it is": Work((0,), settings.frames, HEIGHT),
        "clips at random places, scaled": Work(tuple(starts.tolist()), CLIP, 128),
    }


def measure(settings: Settings) -> dict[str, Any]:
    """Everything, as JSON-ready values."""
    if optional("cv2") is None:
        raise UserError("this compares with OpenCV, which is not installed: pip install 'ssl_jax[image,video]'")
    os.environ.update(_SINGLE)
    optional("cv2").setNumThreads(1)
    with video(settings) as path:
        return {
            "made_by": "tools/benchmark_video",
            "date": time.strftime("%Y-%m-%d"),
            "versions": {name: versioned(name) for name in ("av", "opencv-python-headless", "numpy")},
            "hardware": {"processor": processor(), "cores": os.cpu_count()},
            "video": {"frames": settings.frames, "group": settings.group, "bytes": path.stat().st_size},
            "per_core": {name: rates(path, work, settings.rounds) for name, work in works(settings).items()},
        }


def rates(path: Path, work: Work, rounds: int) -> dict[str, dict[str, float]]:
    """Frames a second of processor time by each of `LOOPS`."""
    calls = {name: partial(timed, partial(read, loop, path, work)) for name, loop in LOOPS.items()}
    frames = work.length * len(work.starts)
    readings = alternate(calls, rounds + 1)
    return {name: _rates(each[1:], frames) for name, each in readings.items()}  # the first warms up


def read(loop: Loop, path: Path, work: Work) -> list[np.ndarray]:
    """The clips uint8 [length, side, side, 3] of some work."""
    return [loop(path, start, work.length, work.side) for start in work.starts]


@contextmanager
def video(settings: Settings) -> Iterator[Path]:
    """A temporary H.264 file: a window that moves over a photograph."""
    from PIL import Image

    with TemporaryDirectory() as root:
        path, size = Path(root) / "made.mp4", (WIDTH * 3 // 2, HEIGHT * 3 // 2)
        scene = np.asarray(Image.open(io.BytesIO(photo(0))).resize(size, Image.Resampling.BICUBIC))
        with library().open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=RATE, options={"g": str(settings.group), "crf": "23"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for number in range(settings.frames):
                top, left = (int((1 + np.sin(number / period)) * room / 2) for period, room in ((23, 180), (31, 240)))
                picture = np.ascontiguousarray(scene[top : top + HEIGHT, left : left + WIDTH])
                container.mux(stream.encode(library().VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
        yield path


def ours(path: Path, start: int, count: int, side: int) -> np.ndarray:
    """As records of `VideoFolder` are read."""
    return clip(path, (start + np.arange(count) + 0.5) / RATE, Decoding(side))


def by_opencv(path: Path, start: int, count: int, side: int) -> np.ndarray:
    """The loop that everybody writes with OpenCV."""
    cv2 = optional("cv2")
    capture = cv2.VideoCapture(str(path))
    if start:
        capture.set(cv2.CAP_PROP_POS_FRAMES, start)
    return np.stack([_square(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB), side) for _ in range(count)])


def by_pyav(path: Path, start: int, count: int, side: int) -> np.ndarray:
    """The loop that everybody writes with PyAV."""
    found: list[np.ndarray] = []
    with library().open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        if start:
            container.seek(int(start / RATE / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if round(frame.time * RATE) >= start:
                found.append(_square(frame.to_ndarray(format="rgb24"), side))
            if len(found) == count:
                break
    return np.stack(found)


Loop = Callable[[Path, int, int, int], np.ndarray]  # file, first frame, how many, side -> uint8 [count, side, side, 3]
LOOPS: dict[str, Loop] = {"ours": ours, "OpenCV": by_opencv, "PyAV": by_pyav}


def as_text(found: dict[str, Any]) -> str:
    """The table for people."""
    told = found["video"]
    lines = [
        f"{told['frames']} frames of {WIDTH} x {HEIGHT}, H.264, a key frame in {told['group']}, {told['bytes'] / 1e6:.1f} MB",
        "frames a second of one core (least to most of the rounds), and ours against the faster of the others",
    ]
    for work, rate in found["per_core"].items():
        fastest = max(rate[name]["median"] for name in rate if name != "ours")
        lines += ["", f"{work}: x {rate['ours']['median'] / fastest:.2f}"]
        lines += [f"  {n:8} {r['median']:7.0f}  ({r['least']:.0f} to {r['most']:.0f})" for n, r in rate.items()]
    return "\n".join(lines)


def _square(picture: np.ndarray, side: int) -> np.ndarray:
    """The central square of a frame, once the shorter side is scaled to `side`."""
    cv2, (height, width) = optional("cv2"), picture.shape[:2]
    scaled = (round(width * side / min(height, width)), round(height * side / min(height, width)))
    picture = picture if scaled == (width, height) else cv2.resize(picture, scaled, interpolation=cv2.INTER_AREA)
    top, left = (scaled[1] - side) // 2, (scaled[0] - side) // 2
    return picture[top : top + side, left : left + side]


def _rates(readings: Sequence[Reading], frames: int) -> dict[str, float]:
    found = [frames / reading.cpu for reading in readings]
    return {"median": median(found), "least": min(found), "most": max(found)}
