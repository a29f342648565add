"""A folder of recordings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ssl_jax.data.audio.decode import SUFFIXES
from ssl_jax.data.sources.audio_files import AudioFiles
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.folder import classes_in, left_out, walked
from ssl_jax.data.sources.listing import Listing, listed
from ssl_jax.data.sources.names import Names
from ssl_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class AudioFolder(AudioFiles):
    """Recordings under `root`: `wave` float32 [T], `valid` bool [T] and, where there are class folders, `label` int32.

    As a string, `audio:/sounds`. Files, classes and links are as in `ImageFolder`, by suffixes of recordings.

    Args:
      root: the folder. labelled: False takes all recordings at any depth, beside folders too, and no labels.
      rate, seconds, channels, windows, seed: as in `AudioFiles`.

    Raises:
      UserError: no such folder, no recordings in it or in one of its classes, or recordings both beside and inside folders.
    """

    root: str | Path
    labelled: bool = True
    _listing: Listing = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        root = Path(self.root)
        if not root.is_dir():
            raise UserError(
                f"no folder at {str(root)!r}; give the folder that holds the recordings or the class folders"
            )
        found = listed(root, partial(walked, suffixes=SUFFIXES), "sounds-1")
        if not len(found.names):
            raise UserError(f"no recordings ({', '.join(SUFFIXES)}) in {str(root)!r}; give a folder that holds some")
        object.__setattr__(self, "classes", classes_in(root, found, "recordings") if self.labelled else ())
        object.__setattr__(self, "_listing", found)
        self._note(left_out(found, "recording"))

    @property
    def paths(self) -> Names:
        """The paths of all files below `root`."""
        return self._listing.names

    def place(self, file: int) -> str:
        """Where a file lies."""
        return os.path.join(self.root, self._listing.names[file])

    def labels_of(self, file: int) -> Record:
        """`label`, where there are classes."""
        return {"label": np.asarray(self._listing.labels[file])} if self.classes else {}

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N], which need no reading; None for other fields."""
        return self._spread(self._listing.labels) if name == "label" and self.classes else None
