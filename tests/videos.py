"""Small videos, encoded in the test: each frame is a colour of its own over a pattern that shows where up is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

GROUPS = {"bf": "2", "g": "12"}  # two frames between others, a key frame in twelve


def frame(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 [height, width, 3]: bright above, dark below, and a bar that moves to the right."""
    picture = np.full((height, width, 3), (number * 37 % 200, 60, number * 11 % 200), np.uint8)
    picture[: height // 3, :, 1] = 220
    picture[:, number * 3 % width : number * 3 % width + 4] = 255
    return picture


def write(path: Path, codec: str = "libx264", count: int = 40, rate: int = 25, **options) -> Path:
    """A video of `count` frames. Options: `side` (height, width), `format` of pixels, `ms` (when each frame appears, in
    thousandths of a second), `rotation`, `aspect` of pixels, `sound` (a track before the pictures), and those of the codec."""
    side, kind = options.pop("side", (48, 64)), options.pop("format", "yuv420p")
    times, rotation = options.pop("ms", None), options.pop("rotation", 0)
    aspect, sound = options.pop("aspect", None), options.pop("sound", False)
    unit = Fraction(1, 1000) if times is not None else Fraction(1, rate)
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        if count:
            stream = container.add_stream(
                codec, rate=rate, options={k.replace("_", "-"): v for k, v in options.items()}
            )
            stream.height, stream.width, stream.pix_fmt = *side, kind
            stream.codec_context.time_base = unit
            if aspect:
                stream.codec_context.sample_aspect_ratio = aspect
            if rotation:
                stream.set_display_rotation(rotation)
        if audio:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 16_000, 0
            container.mux([*audio.encode(silence), *audio.encode()])
        for number in range(count):
            picture = av.VideoFrame.from_ndarray(frame(number, *side), "rgb24")
            picture.pts, picture.time_base = number if times is None else int(times[number]), unit
            container.mux(stream.encode(picture))
        if count:
            container.mux(stream.encode())
    return path
