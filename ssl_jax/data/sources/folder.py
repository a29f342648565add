"""A folder of pictures."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssl_jax.data.image.decode import MAX_PIXELS, decode_image
from ssl_jax.data.sources.arrays import HASH_ROWS, spread
from ssl_jax.data.sources.base import Record
from ssl_jax.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Pictures under `root`: `image` uint8 [size, size, channels] and, where there are class folders, `label` int32.

    Either all pictures lie directly in `root` (no labels), or each folder in `root` is a class and holds its pictures,
    at any depth; classes are numbered in the order of their names. Files are those with a picture's suffix, in the
    order of their paths, the same on every machine. How they are scaled: `ssl_jax.data.image.decode.decode_image`.

    Args:
      root: the folder. Links that lead out of it, and linked folders, are refused.
      size: side of the square that every picture becomes.
      channels: 3 (RGB) or 1 (grey).
      max_pixels: pictures with more are bad records.

    `source[i]` raises (ValueError, OSError, SyntaxError) on a bad file; `ssl_jax.data.bad.BadRecords` deals with that.

    Raises:
      UserError: no such folder, no pictures in it or in one of its classes, pictures both beside and inside folders, or
        a link out of it.
    """

    root: str | Path
    size: int
    channels: int = 3
    max_pixels: int = MAX_PIXELS
    paths: tuple[str, ...] = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.size < 1 or self.channels not in (1, 3):
            raise UserError(f"size={self.size}, channels={self.channels}: use a positive size and 1 or 3 channels")
        root = Path(self.root)
        if not root.is_dir():
            raise UserError(f"no folder at {str(root)!r}; give the folder that holds the pictures or the class folders")
        paths, folders = _list(root)
        flat = any("/" not in path for path in paths)
        classes = () if flat else tuple(folders)
        if not paths:
            raise UserError(f"no pictures ({', '.join(SUFFIXES)}) in {str(root)!r}; give a folder that holds some")
        if flat and not all("/" not in path for path in paths):
            raise UserError(f"{str(root)!r} has pictures both beside and inside folders; move the former into a folder")
        used = {path.split("/", 1)[0] for path in paths}
        if not flat and len(used) < len(classes):
            empty = next(c for c in classes if c not in used)
            raise UserError(f"class folder {empty!r} in {str(root)!r} holds no pictures; fill or remove it")
        object.__setattr__(self, "paths", tuple(paths))
        object.__setattr__(self, "classes", classes)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        path = self.paths[index]
        image = decode_image((Path(self.root) / path).read_bytes(), self.size, self.channels, self.max_pixels)
        if not self.classes:
            return {"image": image}
        return {"image": image, "label": np.asarray(self.classes.index(path.split("/", 1)[0]), np.int32)}

    @staticmethod
    def example(size: int, channels: int = 3, **_: object) -> Record:
        """A record of zeros like those of class folders with these options, for `ssl-jax plan`: reads nothing."""
        return {"image": np.zeros((size, size, channels), np.uint8), "label": np.zeros((), np.int32)}

    def name_of(self, index: int) -> str:
        """The path of a record below `root`."""
        return self.paths[index]

    def fingerprint(self) -> str:
        """SHA-256 of the options, all paths, and size and first 64 kB of (evenly spread) 4,096 files at most."""
        digest = hashlib.sha256(f"{self.size} {self.channels} {self.max_pixels}\n".encode())
        digest.update("\n".join(self.paths).encode("utf-8", "surrogateescape"))
        for i in spread(len(self), HASH_ROWS):
            digest.update(_head(Path(self.root) / self.paths[i]))
        return digest.hexdigest()


def _list(root: Path) -> tuple[list[str], list[str]]:
    """All pictures below `root` as sorted relative paths with `/`, and the sorted names of the folders in it."""
    found: list[str] = []
    top: list[str] = []
    real = root.resolve()
    for here, folders, files in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (os.path.join(here, name) for name in folders):
            if os.path.islink(path):
                raise UserError(f"{path!r} is a linked folder; give the real one as `root`, or copy it")
        top = top if here != str(root) else list(folders)
        for name in files:
            path = os.path.join(here, name)
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            if os.path.islink(path) and not Path(path).resolve().is_relative_to(real):
                raise UserError(f"{path!r} links to a file outside of {str(root)!r}; copy it there")
            found.append(os.path.relpath(path, root).replace(os.sep, "/"))
    return sorted(found), top


def _head(path: Path) -> bytes:
    """Size and first 64 kB of a file; a file that cannot be read is a bad record, not a reason to stop here."""
    try:
        with path.open("rb") as file:
            return f"\n{os.fstat(file.fileno()).st_size} ".encode() + file.read(1 << 16)
    except OSError:
        return b"\n-"


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename!r} cannot be listed ({error.strerror}); make it readable or remove it") from error
