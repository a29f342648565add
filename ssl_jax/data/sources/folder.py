"""A folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources import listing
from ssl_jax.data.sources.arrays import HASH_ROWS, spread
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.listing import Listing, listed
from ssl_jax.data.sources.names import Names
from ssl_jax.data.sources.pictures import EncodedPictures
from ssl_jax.errors import UserError

FILE, FOLDER, ODD, OTHER = "file", "folder", "no regular file", "another suffix"
Place = tuple[int, int]  # of a folder: its device and inode
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True, eq=False)
class ImageFolder(EncodedPictures):
    """Pictures under `root`: `image` uint8 [size, size, channels] and, where there are class folders, `label` int32.

    Either all pictures lie directly in `root` (no labels), or each folder in `root` is a class and holds its pictures,
    at any depth; classes are numbered in the order of their names. Files are those with a picture's suffix, in the
    order of their paths, the same on every machine; how many others there are stands in `notes`.

    Args:
      root: the folder. It, folders and files may be links, to anywhere; a link to a folder that it lies in is refused.
      labelled: False takes all pictures at any depth, beside folders too, and no labels.
      size, channels, max_pixels, pixels: as in `EncodedPictures`.

    A folder of 10,000 pictures or more is listed once (`data/sources/listing.py`).

    Raises:
      UserError: no such folder, no pictures in it or in one of its classes, pictures both beside and inside folders, or
        linked folders without end.
    """

    root: str | Path
    labelled: bool = True
    classes: tuple[str, ...] = field(init=False, repr=False)
    _listing: Listing = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        root = Path(self.root)
        if not root.is_dir():
            raise UserError(f"no folder at {str(root)!r}; give the folder that holds the pictures or the class folders")
        found = listed(root, walked)
        if not len(found.names):
            raise UserError(f"no pictures ({', '.join(SUFFIXES)}) in {str(root)!r}; give a folder that holds some")
        classes = classes_in(root, found) if self.labelled else ()
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "_listing", found)
        self._look(left_out(found))

    def __len__(self) -> int:
        return len(self._listing.names)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all records below `root`."""
        return tuple(self._listing.names)

    def encoded(self, index: int) -> Record:
        """Record `index` with the bytes of its file as `image`."""
        image = files.read(self._path(index))
        return {"image": image} | ({"label": np.asarray(self._listing.labels[index])} if self.classes else {})

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N], which need no reading; None for other fields."""
        return self._listing.labels.copy() if name == "label" and self.classes else None

    def name_of(self, index: int) -> str:
        """The path of a record below `root`."""
        return self._listing.names[index]

    def fingerprint(self) -> str:
        """SHA-256 of the options, all paths, and size and first 64 kB of (evenly spread) 4,096 files at most."""
        digest = self._digest()
        digest.update(self._listing.names.joined())
        for i in spread(len(self), HASH_ROWS):
            digest.update(head(self._path(int(i))))
        if not self.labelled:
            digest.update(b"\nunlabelled")
        return digest.hexdigest()

    def _path(self, index: int) -> Path:
        return Path(self.root) / self._listing.names[index]


def classes_in(root: Path, found: Listing, what: str = "pictures") -> tuple[str, ...]:
    """The names of the class folders, () where there are none; UserError where files are not all in such or all outside."""
    outside = found.labels < 0
    if outside.all():
        return ()
    if outside.any():
        raise UserError(
            f"{str(root)!r} has {what} both beside and inside folders; move the former into a folder, or say "
            f"labelled=False to take all of them, without labels"
        )
    used = np.bincount(found.labels, minlength=len(found.tops))
    if not used.all():
        empty = found.tops[int(np.argmin(used > 0))]
        raise UserError(f"class folder {empty!r} in {str(root)!r} holds no {what}; fill or remove it")
    return tuple(found.tops)


def left_out(found: Listing, what: str = "picture") -> list[str]:
    """What was left out of a folder."""
    odd = (
        [f"left out {len(found.odd)} names that are no regular files, {found.odd[0]!r} first"] if len(found.odd) else []
    )
    others = f"left out {found.others} files that have no {what}'s suffix, {found.first_other!r} first"
    return odd + ([others] if found.others else [])


def walked(root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Listing:
    """What lies below `root`: files of these `suffixes`, and others."""
    found: dict[str, list[str]] = {FILE: [], FOLDER: [], ODD: []}
    states, others, first_other = [], 0, ""
    for kind, path in _names(root, suffixes):
        if kind == OTHER:  # counted, since there may be as many as the former
            others, first_other = others + 1, min(first_other or path, path)
            continue
        found[kind].append(path)
        if kind == FOLDER:  # before it is listed, so that a change meanwhile is seen
            states.append(listing.state(root / path))
    named = sorted(found[FILE])
    tops = sorted(folder for folder in found[FOLDER][1:] if "/" not in folder)
    names, folders, odd = Names.of(named), Names.of(found[FOLDER]), Names.of(sorted(found[ODD]))
    labels = _top_numbers(named, tops)
    return Listing(names, labels, Names.of(tops), folders, np.array(states, np.int64), odd, others, first_other)


def _top_numbers(paths: list[str], tops: list[str]) -> np.ndarray:
    """The place in `tops` of the folder that each path starts with, int32 [N]; -1 where it starts with none."""
    number = {name: place for place, name in enumerate(tops)}
    return np.fromiter(
        (number.get(path.partition("/")[0], -1) if "/" in path else -1 for path in paths), np.int32, len(paths)
    )


def _names(root: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """What each name below `root` is, and its path; a folder comes before what is in it, and "" is `root` itself.

    Links are followed, but not to where they lie.
    """
    yield FOLDER, ""
    waiting: list[tuple[str, str, tuple[Place, ...]]] = [(str(root), "", (_place(os.stat(root)),))]
    while waiting:
        folder, prefix, above = waiting.pop()
        for entry in _entries(folder):
            path = prefix + entry.name
            if _is_folder(entry):
                waiting.append((entry.path, f"{path}/", _deeper(entry, above)))
                yield FOLDER, path
            elif entry.name.lower().endswith(suffixes):
                yield FILE if files.is_usable(entry) else ODD, path
            else:
                yield OTHER, path


def _deeper(entry: os.DirEntry[str], above: tuple[Place, ...]) -> tuple[Place, ...]:
    """The folders that the entries of this folder lie in. UserError where it is one of those that it lies in itself."""
    here = _place(entry.stat())
    if here in above:
        raise UserError(f"{entry.path!r} links to a folder that it lies in, so the list would not end; remove it")
    return (*above, here)


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


def head(path: str | Path) -> bytes:
    """Size and first 64 kB of a file; a file that cannot be read is a bad record, not a reason to stop here."""
    try:
        return f"\n{os.stat(path).st_size} ".encode() + files.read(path, 1 << 16)
    except (OSError, ValueError):
        return b"\n-"
