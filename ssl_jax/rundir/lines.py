"""A file of lines that survives a disk which is full for a while."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from ssl_jax.rundir.durable import sync

logger = logging.getLogger("ssl_jax")


class Lines:
    """Appends whole lines to `path`, on disk at once; creates it with the first.

    Lines that cannot be written are kept, in order, and written as soon as the file system takes them again: a line is
    in the file whole or not at all, even if the disk filled up in the middle of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._waiting: list[str] = []

    def append(self, line: str) -> None:
        """Write `line`, which ends with a newline, after those that are waiting."""
        self._waiting.append(line)
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            while self._waiting:
                self._write(self._file, self._waiting[0].encode())
                del self._waiting[0]
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
                sync(self.path.parent)
        except OSError as error:
            logger.warning("%s may lose its last lines in a power cut (%s)", self.path, error.strerror)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

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
