"""Videos as folders of pictures, one for each frame."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.image.decode import decode_image
from ssl_jax.data.sources.folder import SUFFIXES, left_out, walked
from ssl_jax.data.sources.listing import listed
from ssl_jax.data.sources.names import Names
from ssl_jax.data.sources.video_windows import VideoWindows
from ssl_jax.errors import UserError

_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True, eq=False)
class FrameFolder(VideoWindows):
    """Clips of videos whose frames are pictures: `clip` uint8 [frames, size, size, channels] and perhaps `label` int32.

    Every folder below `root` that holds pictures is a video, and these are its frames in the order of the numbers in their names.
    Where all videos lie in folders of `root`, `root/class/video/frame.jpg`, those are classes. A video that is shorter than a
    clip has one, in which its last frame stays.

    Args:
      root, size, frames, stride, channels, max_pixels: as in `VideoWindows`.
      every: frames from the beginning of a window to that of the next; None: as many as a window has.

    Raises:
      UserError: no such folder, or no pictures in it.
    """

    every: int | None = None
    _firsts: np.ndarray = field(init=False, repr=False)  # frame of each video, and the number of all

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every is not None and self.every < 1:
            raise UserError(f"every={self.every}: give a whole number of frames of at least 1, or None")
        root = Path(self.root)
        found = listed(root, walked)
        if not len(found.names):
            raise UserError(f"no pictures ({', '.join(SUFFIXES)}) in {str(root)!r}; give a folder of folders of frames")
        names = sorted(found.names, key=_in_order)
        videos = [(folder, len(list(frames))) for folder, frames in groupby(names, _folder)]
        counts = np.array([count for _, count in videos])
        object.__setattr__(self, "_firsts", np.concatenate([[0], np.cumsum(counts)]))
        windows = 1 + np.maximum(0, counts - self._span) // self._step
        self._cut(Names.of(names), windows, *_labelled([folder for folder, _ in videos]), left_out(found, "picture"))

    def read(self, video: int, window: int) -> np.ndarray:
        """A clip uint8 [frames, size, size, channels]. Raises (ValueError, OSError) where a frame cannot be read."""
        first, last = self._firsts[video], self._firsts[video + 1] - 1
        places = np.minimum(first + window * self._step + np.arange(self.frames) * self.stride, last)
        return np.stack([self._picture(int(place)) for place in places])

    def name_of(self, index: int) -> str:
        """The path of the first frame of a record below `root`."""
        video, window = self.place(index)
        return self._names[int(self._firsts[video]) + window * self._step]

    def belongs_to(self, index: int) -> str:
        """The folder of a record's frames below `root`."""
        return _folder(self.name_of(index))

    @property
    def _span(self) -> int:
        """Frames of a video from the first of a clip to the last."""
        return (self.frames - 1) * self.stride + 1

    @property
    def _step(self) -> int:
        return self.every or self.frames * self.stride

    def _picture(self, frame: int) -> np.ndarray:
        data = files.read(self._path(frame))
        return decode_image(data, self.size, self.channels, self.max_pixels)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _in_order(path: str) -> tuple[str, list[str | int]]:
    """What frames are sorted by: their folder, and their name with numbers as such."""
    folder, _, name = path.rpartition("/")
    return folder, [int(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(name))]


def _labelled(folders: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels int32 [V] of videos in these folders and the names of the classes, () where not all lie in one of them."""
    tops = [folder.partition("/")[0] if "/" in folder else "" for folder in folders]
    classes = tuple(sorted(set(tops)))
    if "" in classes:
        return np.full(len(folders), -1, np.int32), ()
    return np.array([classes.index(top) for top in tops], np.int32), classes
