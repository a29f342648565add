"""Features that were made before: `eval/features/` of a run, an entry for each encoder, reading and source.

An entry is a folder of arrays, memory-mapped when read, and `entry.json` with its whole key: weights, code, preprocessing and
data, so that what was made of anything else is another entry. A damaged one is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.devices.distributed import any_process, is_first
from ssl_jax.errors import UserError
from ssl_jax.evaluate.room import Room, in_memory
from ssl_jax.recipe.values import read_json
from ssl_jax.rundir.log import logger
from ssl_jax.rundir.writing import own_folder, replace_file

FOLDER = Path("eval") / "features"
_ABOUT = "entry.json"
_BLOCK = 2**24

Key = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]


class Cache:
    """Entries in `folder`, in all at most `limit` bytes: those unused for longest go first. Without a folder it keeps nothing.

    With several processes the first writes and all read, so that the folder must be shared; an entry counts as there where all
    find it.
    """

    def __init__(self, folder: Path | None = None, limit: int = 0) -> None:
        self.folder, self.limit = folder if limit > 0 else None, limit

    def get(self, key: Key) -> Arrays | None:
        """The arrays of an entry, or None where it is not there, or not whole."""
        found = None if self.folder is None else self._read(self.folder / name_of(key), key)
        return None if self.folder is None or any_process(found is None) else found

    @contextmanager
    def adding(self, key: Key) -> Iterator[Entry]:
        """A new entry, which is there once the block has ended well."""
        folder = None if self.folder is None or not is_first() else self.folder
        entry = Entry(None if folder is None else folder / f".{name_of(key)}.{os.getpid()}", self.limit)
        try:
            yield entry
            if folder is not None and entry.folder is not None:
                self._publish(folder, entry, key)
        finally:
            if entry.folder is not None:
                shutil.rmtree(entry.folder, ignore_errors=True)

    def clear(self) -> int:
        """Remove all entries; how many bytes they were."""
        if self.folder is None or not self.folder.is_dir():
            return 0
        size = sum(_size(entry) for entry in self.folder.iterdir())
        shutil.rmtree(self.folder)
        return size

    def _publish(self, folder: Path, entry: Entry, key: Key) -> None:
        try:
            entry.close(key)
            place = own_folder(folder) / name_of(key)
            shutil.rmtree(place, ignore_errors=True)
            os.replace(entry.folder, place)  # type: ignore[arg-type]
            self._make_room(folder, place)
        except OSError as error:
            logger.warning("features are not kept: %s: %s", error.filename or folder, error.strerror)

    def _make_room(self, folder: Path, newest: Path) -> None:
        entries = sorted((e for e in folder.iterdir() if not e.name.startswith(".")), key=_used)
        sizes = {entry: _size(entry) for entry in entries}
        total = sum(sizes.values())
        for entry in entries:
            if total <= self.limit:
                return
            if entry != newest:
                shutil.rmtree(entry, ignore_errors=True)  # whoever reads it has the file open
                total -= sizes[entry]

    def _read(self, folder: Path, key: Key) -> Arrays | None:
        try:
            about = read_json(folder / _ABOUT)
            if about.get("key") != json.loads(_text(key)):
                return None
            found = {name: _opened(folder, name, facts) for name, facts in about["arrays"].items()}
            os.utime(folder / _ABOUT)
        except (OSError, UserError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return found


class Entry:
    """The arrays of an entry while they are made. Without a folder they are in memory and nothing is kept."""

    def __init__(self, folder: Path | None = None, limit: int = 0) -> None:
        self.folder, self._limit, self._rows = folder, limit, dict[str, int]()

    def room(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """An array of float32 of that shape, in a file of the entry."""
        if self.folder is None or 4 * np.prod(shape, dtype=np.int64) > self._limit:
            self.folder = None
            return in_memory(name, shape)
        try:
            own_folder(self.folder)
            free = shutil.disk_usage(self.folder).free
            if 4 * np.prod(shape, dtype=np.int64) > free // 2:
                raise OSError(28, "less than twice their size is free", str(self.folder))
            return np.lib.format.open_memmap(self.folder / f"{name}.npy", "w+", np.float32, shape)
        except OSError as error:
            logger.warning("features are not kept: %s: %s", error.filename or self.folder, error.strerror)
            self.folder = None
            return in_memory(name, shape)

    def complete(self, arrays: Arrays, rows: int | None = None) -> None:
        """Keep small `arrays` too. Of `x` only the first `rows` count."""
        if rows is not None:
            self._rows["x"] = rows
        for name, values in arrays.items() if self.folder is not None else ():
            np.save(own_folder(self.folder) / f"{name}.npy", values, allow_pickle=False)  # type: ignore[arg-type]

    def close(self, key: Key) -> None:
        """Write what the entry is."""
        assert self.folder is not None
        arrays = {
            path.stem: {"rows": self._rows.get(path.stem), "bytes": path.stat().st_size, "crc32": _crc32(path)}
            for path in sorted(own_folder(self.folder).glob("*.npy"))
        }
        content = {"key": json.loads(_text(key)), "made": time.time(), "arrays": arrays}
        replace_file(self.folder / _ABOUT, json.dumps(content, indent=1) + "\n")


def room_of(entries: Mapping[Any, Entry]) -> Room:
    """Room for each result in the entry of its name, as its array `x`."""
    return lambda name, shape: entries[name].room("x", shape)


def name_of(key: Key) -> str:
    """The folder of an entry."""
    return hashlib.sha256(_text(key).encode()).hexdigest()[:20]


def _text(key: Key) -> str:
    return json.dumps(key, sort_keys=True, separators=(",", ":"))


def _opened(folder: Path, name: str, facts: Mapping[str, Any]) -> np.ndarray:
    path = folder / f"{Path(name).name}.npy"
    if path.stat().st_size != facts["bytes"] or _crc32(path) != facts["crc32"]:
        raise ValueError(f"{path} is damaged")
    return np.load(path, mmap_mode="r", allow_pickle=False)[: facts["rows"]]


def _crc32(path: Path) -> int:
    crc = 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def _size(entry: Path) -> int:
    with suppress(OSError):
        return sum(file.stat().st_size for file in entry.iterdir())
    return 0


def _used(entry: Path) -> float:
    with suppress(OSError):
        return (entry / _ABOUT).stat().st_mtime
    return 0.0
