"""What must survive a power cut: a file and its name in its directory are on disk only once both were synced."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

UNABLE = (
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EBADF,
)  # file systems that sync files, and have no such call for directories


def sync(path: Path) -> None:
    """Block until a file's bytes, or a directory's names, are on disk."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_open(file)
    finally:
        os.close(file)


def sync_open(file: int) -> None:
    """As `sync`, of what is open."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in UNABLE or not stat.S_ISDIR(os.fstat(file).st_mode):
            raise


def sync_tree(directory: Path) -> None:
    """Everything below `directory`: the files, then the directories, the deepest first, and `directory` itself."""
    inside = list(directory.rglob("*"))
    _sync_all(path for path in inside if path.is_file())
    folders = sorted((path for path in inside if path.is_dir()), key=lambda path: len(path.parts), reverse=True)
    for folder in (*folders, directory):
        sync(folder)


def make_directory(path: Path) -> None:
    """`path` with the parents it lacks, their names on disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        with suppress(OSError):  # a parent that may not be read
            sync(folder.parent)


def _sync_all(files: Iterable[Path]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sync, files))
