"""What sources of video share: a record is a window of a video, and no window is read before it is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from ssl_jax.data.sources.arrays import HASH_ROWS, spread
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.folder import head
from ssl_jax.data.sources.names import Names
from ssl_jax.data.stages import stage
from ssl_jax.data.video.decode import MAX_PIXELS, Decoding
from ssl_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class VideoWindows:
    """Base of sources whose records are windows of videos: `clip` uint8 [frames, size, size, channels], and `label` int32.

    The `__post_init__` of a source ends with `_cut`, which keeps its files, how many windows each video has, and its label;
    `read(video, window)` reads one.

    Args:
      root: the folder.
      size: side of the frames' central square, once the shorter side is scaled to it.
      frames: of a clip; stride: one in so many is taken.
      channels: 3 (RGB) or 1 (grey).
      max_pixels: videos whose frames have more are bad records.
    """

    root: str | Path
    size: int
    frames: int = 16
    stride: int = 1
    channels: int = 3
    max_pixels: int = MAX_PIXELS
    classes: tuple[str, ...] = field(init=False, repr=False, default=())
    notes: tuple[str, ...] = field(init=False, repr=False, default=())
    _names: Names = field(init=False, repr=False)  # of files
    _labels: np.ndarray = field(init=False, repr=False)  # of videos
    _ends: np.ndarray = field(init=False, repr=False)  # records up to and with each video

    def __post_init__(self) -> None:
        Decoding(self.size, self.channels)
        if self.frames < 1 or self.stride < 1:
            raise UserError(f"frames={self.frames}, stride={self.stride}: use whole numbers of at least 1")
        if not Path(self.root).is_dir():
            raise UserError(
                f"no folder at {str(self.root)!r}; give the folder that holds the videos or the class folders"
            )

    def read(self, video: int, window: int) -> np.ndarray:
        """A clip uint8 [frames, size, size, channels]. Raises (ValueError, OSError) where it cannot be read."""
        raise NotImplementedError

    def name_of(self, index: int) -> str:
        """The path of a record's video below `root`, and where the clip begins."""
        raise NotImplementedError

    def belongs_to(self, index: int) -> str:
        """The path of a record's video below `root`."""
        raise NotImplementedError

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Record:
        video, window = self.place(index)
        with stage("decode"):
            clip = self.read(video, window)
        return {"clip": clip} | ({"label": np.asarray(self._labels[video])} if self.classes else {})

    def place(self, index: int) -> tuple[int, int]:
        """Which video, and which window of it, a record is."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        video = int(np.searchsorted(self._ends, index, side="right"))
        return video, index - (int(self._ends[video - 1]) if video else 0)

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N], which need no reading; None for other fields."""
        windows = np.diff(self._ends, prepend=0)
        return np.repeat(self._labels, windows) if name == "label" and self.classes else None

    def fingerprint(self) -> str:
        """SHA-256 of options, paths and windows, and of size and first 64 kB of (evenly spread) 4,096 files at most."""
        hidden = ("root", "notes")
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name[0] != "_" and f.name not in hidden}
        digest = hashlib.sha256(repr(options).encode("utf-8", "surrogateescape"))
        digest.update(self._names.joined())
        digest.update(self._ends.tobytes())
        for file in spread(len(self._names), HASH_ROWS):
            digest.update(head(self._path(int(file))))
        return digest.hexdigest()

    @staticmethod
    def example(size: int, frames: int = 16, channels: int = 3, **_: object) -> Record:
        """A record of zeros like those of labelled videos with these options, for `ssl-jax plan`: reads nothing."""
        return {"clip": np.zeros((frames, size, size, channels), np.uint8), "label": np.zeros((), np.int32)}

    def _cut(
        self, names: Names, windows: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], notes: list[str]
    ) -> None:
        """Keep the names of the files, how many windows int [V] each video has, and its label."""
        found = {"_names": names, "_ends": np.cumsum(windows), "_labels": labels.astype(np.int32), "classes": classes}
        for name, value in {**found, "notes": tuple(notes)}.items():
            object.__setattr__(self, name, value)

    def _path(self, file: int) -> Path:
        return Path(self.root) / self._names[file]
