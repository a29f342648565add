"""A folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources.arrays import HASH_ROWS, spread
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.pictures import EncodedPictures
from ssl_jax.errors import UserError

Place = tuple[int, int]  # of a folder: its device and inode
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True, eq=False)
class ImageFolder(EncodedPictures):
    """Pictures under `root`: `image` uint8 [size, size, channels] and, where there are class folders, `label` int32.

    Either all pictures lie directly in `root` (no labels), or each folder in `root` is a class and holds its pictures,
    at any depth; classes are numbered in the order of their names. Files are those with a picture's suffix, in the
    order of their paths, the same on every machine.

    Args:
      root: the folder. It, folders and files may be links, to anywhere; a link to a folder that it lies in is refused.
      size, channels, max_pixels, pixels: as in `EncodedPictures`.

    Raises:
      UserError: no such folder, no pictures in it or in one of its classes, pictures both beside and inside folders, or
        linked folders without end.
    """

    root: str | Path
    paths: tuple[str, ...] = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    _number: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        root = Path(self.root)
        if not root.is_dir():
            raise UserError(f"no folder at {str(root)!r}; give the folder that holds the pictures or the class folders")
        paths, folders, odd = _list(root)
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
        object.__setattr__(self, "_number", {name: number for number, name in enumerate(classes)})
        self._look([f"left out {len(odd)} names that are no regular files, {odd[0]!r} first"] if odd else [])

    def __len__(self) -> int:
        return len(self.paths)

    def encoded(self, index: int) -> Record:
        """Record `index` with the bytes of its file as `image`."""
        image = files.read(Path(self.root) / self.paths[index])
        return {"image": image} | ({"label": np.asarray(self._label(index), np.int32)} if self.classes else {})

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N], which need no reading; None for other fields."""
        if name != "label" or not self.classes:
            return None
        return np.array([self._label(i) for i in range(len(self))], np.int32)

    def name_of(self, index: int) -> str:
        """The path of a record below `root`."""
        return self.paths[index]

    def fingerprint(self) -> str:
        """SHA-256 of the options, all paths, and size and first 64 kB of (evenly spread) 4,096 files at most."""
        digest = self._digest()
        digest.update("\n".join(self.paths).encode("utf-8", "surrogateescape"))
        for i in spread(len(self), HASH_ROWS):
            digest.update(_head(Path(self.root) / self.paths[i]))
        return digest.hexdigest()

    def _label(self, index: int) -> int:
        return self._number[self.paths[index].split("/", 1)[0]]


def _list(root: Path) -> tuple[list[str], list[str], list[str]]:
    """All pictures below `root` as sorted relative paths with `/`, the names of the folders in it, and what is no file."""
    found: list[str] = []
    odd: list[str] = []
    for path, entry in _walk(root):
        (found if files.is_usable(entry) else odd).append(path)
    top = sorted(entry.name for entry in _entries(root) if _is_folder(entry))
    return sorted(found), top, sorted(odd)


def _walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The names with a picture's suffix below `root`, by their path. Links are followed, but not to where they lie."""
    waiting: list[tuple[str, str, tuple[Place, ...]]] = [(str(root), "", (_place(os.stat(root)),))]
    while waiting:
        folder, prefix, above = waiting.pop()
        for entry in _entries(folder):
            if _is_folder(entry):
                here = _place(entry.stat())
                if here in above:
                    raise UserError(
                        f"{entry.path!r} links to a folder that it lies in, so the list would not end; remove it"
                    )
                waiting.append((entry.path, f"{prefix}{entry.name}/", (*above, here)))
            elif entry.name.lower().endswith(SUFFIXES):
                yield prefix + entry.name, entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, or a link to one. UserError for a link that may have been one, and leads nowhere."""
    with suppress(OSError):
        if entry.is_dir():
            return True
    lost = entry.is_symlink() and not os.path.exists(entry.path) and "." not in entry.name
    if lost:
        raise UserError(f"{entry.path!r} is a link to nothing: bring back what it links to, or remove it")
    return False


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as names:
            return [entry for entry in names if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(
            f"{error.filename!r} cannot be listed ({error.strerror}); make it readable or remove it"
        ) from error


def _place(found: os.stat_result) -> Place:
    return found.st_dev, found.st_ino


def _head(path: Path) -> bytes:
    """Size and first 64 kB of a file; a file that cannot be read is a bad record, not a reason to stop here."""
    try:
        return f"\n{path.stat().st_size} ".encode() + files.read(path, 1 << 16)
    except (OSError, ValueError):
        return b"\n-"
