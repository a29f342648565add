"""A disk that keeps only what was synced, as a power cut finds it.

Nothing of what a program writes counts, but what it syncs through `os.fsync`: a file's bytes as they were then, a directory's
names as they were then. What libraries sync out of our sight does not count either, so the model is stricter than any disk.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path


class Disk:
    """What lies below `root`, which is on disk itself."""

    def __init__(self, root: Path) -> None:
        self.root, self._lock = os.stat(root).st_ino, threading.RLock()
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, int]] = {}
        self._held: dict[int, int] = {}  # an open file of each, so that no number is used twice

    def synced(self, file: int) -> None:
        """`file` was synced."""
        with self._lock:
            found = os.fstat(file)
            if found.st_ino not in self._held:
                self._held[found.st_ino] = os.dup(file)
            if stat.S_ISDIR(found.st_mode):
                self._folders[found.st_ino] = {entry.name: entry.inode() for entry in os.scandir(file)}
            else:
                copy = os.open(f"/proc/self/fd/{file}", os.O_RDONLY)
                self._files[found.st_ino] = os.pread(copy, found.st_size, 0)
                os.close(copy)

    def after_a_cut(self, target: Path, removals: bool = False) -> None:
        """Write what is left into `target`. With `removals`, every name that was removed is gone, synced or not."""
        with self._lock:
            self._write(self.root, target, removals)

    def _write(self, inode: int, target: Path, removals: bool) -> None:
        target.mkdir()
        there = set(os.listdir(self._held[inode])) if removals and inode in self._held else None
        for name, child in self._folders.get(inode, {}).items():
            if there is not None and name not in there:
                continue
            if child in self._folders:
                self._write(child, target / name, removals)
            else:  # names of files, and of directories, that were never synced themselves are empty files here
                (target / name).write_bytes(self._files.get(child, b""))


WATCHING = []  # blocks that last as long as the process
CHANGES = ("fsync", "rename", "replace", "unlink", "rmdir")


@contextmanager
def watched(disk: Disk, after: Callable[[str], None] = lambda change: None):
    """Tell `disk` what is synced inside the block, and call `after` each change, by its name."""
    before = {name: getattr(os, name) for name in CHANGES}

    def watching(name):
        def call(*args, **options):
            result = before[name](*args, **options)
            if name == "fsync":
                disk.synced(args[0])
            after(name)
            return result

        return call

    for name in CHANGES:
        setattr(os, name, watching(name))
    try:
        yield
    finally:
        for name, call in before.items():
            setattr(os, name, call)


def cut_at_each_promise(root: Path, target: Path) -> None:
    """From here on, `target`/<step> becomes what a power cut leaves of `root` once the checkpoint of a step has its name."""
    from ssl_jax.checkpoint.files import StepDirectories

    disk, publish = Disk(root), StepDirectories.publish
    WATCHING.append(watched(disk))
    WATCHING[-1].__enter__()

    def published(self: StepDirectories, step: int, *options: int) -> None:
        publish(self, step, *options)
        disk.after_a_cut(target / str(step))

    StepDirectories.publish = published
