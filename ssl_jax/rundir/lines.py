"""A file of lines that survives a disk which is full for a while, and who removes or replaces it."""

from __future__ import annotations

import errno
import logging
import os
import weakref
from contextlib import suppress
from pathlib import Path

from ssl_jax.rundir.durable import sync_open
from ssl_jax.rundir.writing import NEW, open_to_append, unused

logger = logging.getLogger("ssl_jax")


class Lines:
    """Appends whole lines to `path`, on disk at once; creates it with the first.

    Lines that cannot be written are kept, in order, and written as soon as the file system takes them again: a line is
    in the file whole or not at all, even if the disk filled up in the middle of it. The directory is held: when it is moved,
    the lines go with it. A file that is deleted or replaced in the meantime is put back as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._folder)
        self._file: int | None = None
        self._size = 0
        self._waiting: list[str] = []

    def append(self, line: str) -> None:
        """Write `line`, which ends with a newline, after those that are waiting."""
        self._waiting.append(line)
        try:
            file = self._opened()
            while self._waiting:
                self._write(file, self._waiting[0].encode())
                del self._waiting[0]
            self._size = os.fstat(file).st_size
        except OSError as error:
            if len(self._waiting) == 1:
                logger.warning(
                    "%s cannot be written (%s); its lines are kept until it can, and training goes on",
                    self.path, error.strerror,
                )  # fmt: skip

    def sync(self) -> None:
        """Block until what was written is on disk, and the file's name too. A disk that cannot is told."""
        try:
            if self._file is not None:
                os.fsync(self._file)
                sync_open(self._folder)
        except OSError as error:
            logger.warning("%s may lose its last lines in a power cut (%s)", self.path, error.strerror)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        """The file that has the lines so far, under its name."""
        if self._file is None:
            self._file = open_to_append(self.path.name, self._folder)
            self._size = os.fstat(self._file).st_size
        found = os.fstat(self._file)
        if found.st_size < self._size:
            lost = self._size - found.st_size
            logger.error("%s was cut from outside: %d bytes of it are lost", self.path, lost)
            self._size = found.st_size
        if not self._is_there(found):
            self._put_back(self._file)
        return self._file

    def _is_there(self, mine: os.stat_result) -> bool:
        try:
            return os.path.samestat(mine, os.stat(self.path.name, dir_fd=self._folder, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _put_back(self, old: int) -> None:
        """Write what the file held, which is there as long as it is open, under its name again."""
        name, beside = self.path.name, f".{self.path.name}.{os.getpid()}"
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=self._folder)
        with os.fdopen(os.open(beside, NEW, 0o666, dir_fd=self._folder), "wb") as new:
            new.write(os.pread(old, os.fstat(old).st_size, 0))
        told = ""
        with suppress(FileNotFoundError):
            other = unused(self.path.with_name(f"{name}.before")).name
            os.rename(name, other, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            told = f"; what stood there is {other}"
        os.rename(beside, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        logger.warning(
            "%s was deleted or replaced while it was written; it is back with all its lines%s", self.path, told
        )
        self._file = open_to_append(name, self._folder)
        os.close(old)

    @staticmethod
    def _write(file: int, data: bytes) -> None:
        before = os.fstat(file).st_size
        try:
            if os.write(file, data) == len(data):
                return
        except OSError:
            os.ftruncate(file, before)
            raise
        os.ftruncate(file, before)  # a part of the line fitted
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
