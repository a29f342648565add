"""Files of records, read so that nothing waits for ever: regular files only, whatever their names say, and not without bound."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from ssl_jax.errors import UserError

MAX_BYTES = 512 << 20  # of one record's file; a picture of as many pixels as are read takes less in any format
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
_KINDS[stat.S_IFDIR] = "a folder"


def read(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """The content of a regular file, or its first `most` bytes.

    Raises:
      ValueError: not a regular file, or one above 512 MiB where all of it is asked for.
      OSError: it is not there or cannot be read.
    """
    descriptor = opened(path)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if most is None and size > MAX_BYTES:
            raise ValueError(f"{size} bytes: more than the {MAX_BYTES} of which a record may be made")
        return file.read(size if most is None else most)


def opened(path: str | os.PathLike[str]) -> int:
    """A descriptor of a regular file. Returns at once: a FIFO without a writer would wait, a device might do anything."""
    _require_regular(os.stat(path).st_mode)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        _require_regular(os.fstat(descriptor).st_mode)  # it may have been replaced in between
    except ValueError:
        os.close(descriptor)
        raise
    return descriptor


def uncut(path: str | os.PathLike[str]) -> Callable[[], None]:
    """A check that a memory-mapped file is as long as now: to read a map beyond the file's end kills the process (SIGBUS)."""
    begun = os.stat(path)

    def check() -> None:
        try:
            now = os.stat(path)
        except OSError:
            return  # a file that is gone is still mapped
        if now.st_ino == begun.st_ino and now.st_size < begun.st_size:
            raise UserError(
                f"{str(path)!r} had {begun.st_size} bytes when it was opened and has {now.st_size} now: it was cut while it "
                f"was read; bring it back, and start the same command again"
            )

    return check


def is_usable(entry: os.DirEntry[str]) -> bool:
    """Whether a name in a folder is a regular file, or a link to one or to nothing (which is a record that cannot be read)."""
    try:
        return entry.is_file() or not os.path.exists(entry.path)
    except OSError:  # a link to itself
        return True


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ValueError(f"{_KINDS.get(stat.S_IFMT(mode), 'something else')}, and no regular file")
