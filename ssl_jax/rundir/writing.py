"""The one way to write a file in a run directory: beside it and then in its place, and never through a link."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from ssl_jax.errors import UserError
from ssl_jax.rundir.durable import sync

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What `replacing` writes before it has its name, of the files that only the holder of the LOCK writes.
UNFINISHED = re.compile(r"\.(?:config\.json|env\.json|metrics\.jsonl)\.(\d+)")

T = TypeVar("T")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that becomes `path` when the block ends well. A reader, or a crash at any moment, finds the old one or the
    whole new one; a link of that name is replaced, and what it led to stays as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(beside, NEW, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync(path.parent)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, finds either the old one or the whole new one."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def own_folder(path: Path) -> Path:
    """The folder `path`, made if it is not there. OSError for a link or a file of that name: a link may lead anywhere."""
    with suppress(FileExistsError):
        path.mkdir(parents=True)
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a folder but a file, or a link, which is not followed", str(path))
    return path


def open_to_append(name: str, folder: int) -> int:
    """A file descriptor of the regular file `name` in the open directory `folder`, created if it is not there.

    OSError for anything else of that name: a link, a directory, a FIFO that would block.
    """
    file = os.open(name, APPEND, 0o666, dir_fd=folder)
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise OSError(errno.EINVAL, "not a regular file", name)


def unused(path: Path, suffix: str = "") -> Path:
    """`<path>-<time><suffix>`, with a number after it where that is taken."""
    stamp = f"{path.name}-{time.strftime('%Y%m%dT%H%M%S')}"
    names = (f"{stamp}{again}{suffix}" for again in ("", *(f"-{i}" for i in range(2, 10_000))))
    return next(new for name in names if not os.path.lexists(new := path.with_name(name)))


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed left of files that had no name yet."""
    for path in folder.iterdir():
        found = UNFINISHED.fullmatch(path.name)
        if found and not alive(int(found[1])):
            path.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process of this number is here."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def written(write: Callable[[Path], T], folder: Path) -> T:
    """`write(folder)`. Where that is impossible it writes into a new temporary folder, and UserError says where it lies."""
    try:
        return write(folder)
    except OSError as error:
        where = error.filename2 or error.filename or folder
        reason = f"{where} cannot be written: {error.strerror}"
        raise UserError(f"{reason}. {_elsewhere(write)}, and with --out FOLDER it is written there") from error


def _elsewhere(write: Callable[[Path], object]) -> str:
    try:
        folder = Path(tempfile.mkdtemp(prefix="ssl-jax-"))
        write(folder)
    except OSError as error:
        return f"Nothing was written, since temporary files cannot be either ({error.strerror})"
    return f"It was written to {folder} instead; move it from there"
