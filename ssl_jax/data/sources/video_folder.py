"""A folder of video files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ssl_jax.data.sources.folder import classes_in, left_out, walked
from ssl_jax.data.sources.listing import listed
from ssl_jax.data.sources.video_windows import VideoWindows
from ssl_jax.data.video.decode import Decoding, clip
from ssl_jax.data.video.lengths import lengths
from ssl_jax.errors import UserError

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".flv", ".wmv", ".ogv", ".3gp", ".gif",
)  # fmt: skip
_LISTED = "videos-1"
_ALMOST = 1e-6  # of a window: what a division may lose


@dataclass(frozen=True, eq=False)
class VideoFolder(VideoWindows):
    """Clips of the videos under `root`: `clip` uint8 [frames, size, size, channels] and, where there are class folders, `label`.

    Folders and classes are as in `ImageFolder`. A clip takes `rate` frames a second, each the one that is on the screen in the
    middle of its time, whatever times the file's own frames have; sound is not read. A video that is shorter than a clip has one,
    in which its last frame stays. A window follows the other, or one begins every so many seconds.

    Args:
      root, size, frames, stride, channels, max_pixels: as in `VideoWindows`.
      rate: frames a second before `stride`; None: as many as each video has on average.
      every: seconds from the beginning of a window to that of the next; None: as long as a window is.
      labelled: False takes all videos at any depth, beside folders too, and no labels.

    What cannot be read is a bad record: `source[i]` raises (ValueError, OSError). How long videos are is asked once
    (`data/video/lengths.py`).

    Raises:
      UserError: no such folder, no videos in it or in one of its classes, or no PyAV.
    """

    rate: float | None = None
    every: float | None = None
    labelled: bool = True
    _rates: np.ndarray = field(init=False, repr=False)  # frames a second that are taken of each video
    _steps: np.ndarray = field(init=False, repr=False)  # seconds from window to window

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(value is None or value > 0 for value in (self.rate, self.every)):
            raise UserError(f"rate={self.rate}, every={self.every}: give numbers above 0, or None")
        root = Path(self.root)
        found = listed(root, partial(walked, suffixes=SUFFIXES), _LISTED)
        if not len(found.names):
            raise UserError(f"no videos ({', '.join(SUFFIXES)}) in {str(root)!r}; give a folder that holds some")
        classes = classes_in(root, found, "videos") if self.labelled else ()
        seconds, rates = lengths(root, found.names, self.max_pixels)
        rates = rates if self.rate is None else np.full_like(rates, self.rate)
        spans = self.frames * self.stride / rates
        steps = spans if self.every is None else np.full_like(spans, self.every)
        windows = 1 + np.maximum(0, (seconds - spans) / steps + _ALMOST).astype(int)
        object.__setattr__(self, "_rates", rates)
        object.__setattr__(self, "_steps", steps)
        self._cut(found.names, windows, found.labels, classes, left_out(found, "video"))

    def read(self, video: int, window: int) -> np.ndarray:
        """A clip uint8 [frames, size, size, channels]. Raises (ValueError, OSError) where it cannot be read."""
        middles = (np.arange(self.frames) * self.stride + 0.5) / self._rates[video]
        decoding = Decoding(self.size, self.channels, self.max_pixels)
        return clip(self._path(video), window * self._steps[video] + middles, decoding)

    def name_of(self, index: int) -> str:
        """The path of a record's video below `root`, and when the clip begins."""
        video, window = self.place(index)
        return f"{self._names[video]} at {window * self._steps[video]:.2f} s"

    def belongs_to(self, index: int) -> str:
        """The path of a record's video below `root`."""
        return self._names[self.place(index)[0]]
