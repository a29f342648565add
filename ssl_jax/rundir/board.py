"""TensorBoard beside a run: it can neither stop the run nor make it wait, whatever its files or its library do.

tensorboardX writes from a thread behind a short queue. When that thread dies of a full disk, who adds a number waits for
ever. So a thread of our own adds them, and the files are ours: they take every byte, and write it when the disk does.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_jax.rundir.writing import open_to_append, own_folder

logger = logging.getLogger("ssl_jax")

SCHEME = "ssl_jax"  # what tensorboardX hands to `_Files`: ssl_jax:<folder>
WAITING = 10_000  # lines of metrics that may wait for the thread
HELD = 2**24  # bytes that may wait for the disk
PATIENCE = 10.0  # seconds, at the end of a run

Line = tuple[int, dict[str, Any]]


class Board:
    """The finite numbers of a run as TensorBoard events in `folder`. Nothing here raises or waits, but `close`, a while."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._options: dict[str, Any] = {}
        self._lines: queue.Queue[Line | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._board: Any = None
        self._wanted = True

    def purge(self, step: int) -> None:
        """What is in the folder from `step` on does not count any more. Before the first line."""
        self._options = {"purge_step": step}

    def write(self, step: int, record: dict[str, Any]) -> None:
        """Add the numbers of a line of metrics."""
        if not self._wanted:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tensorboard", daemon=True)
            self._thread.start()
        self._put((step, record))

    def close(self) -> None:
        """Write what is left; what does not come to an end within `PATIENCE` is left behind."""
        if self._thread is None:
            return
        self._put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._stop("it does not come to an end")

    def _put(self, line: Line | None) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._stop("it does not keep up")

    def _work(self) -> None:
        try:
            self._board = _writer(self._folder, self._options)
            while self._wanted and (line := self._lines.get()) is not None:
                _add(self._board, *line)
            self._board.close()
        except Exception as error:
            # A picture of the run must never stop the run; metrics.jsonl has the same numbers.
            self._stop(error)

    def _stop(self, reason: object) -> None:
        if self._wanted:
            logger.warning("TensorBoard stopped (%s); metrics.jsonl still has every number", reason)
        self._wanted = False
        _abandon(self._board)


def _writer(folder: Path, options: dict[str, Any]) -> Any:
    from tensorboardX import SummaryWriter

    with suppress(ImportError):  # without it the library's own files have to do
        from tensorboardX.record_writer import register_writer_factory

        register_writer_factory(SCHEME, _Files())
    return SummaryWriter(f"{SCHEME}:{folder}", **options)


def _add(board: Any, step: int, record: dict[str, Any]) -> None:
    for key, value in record.items():
        if key != "step" and isinstance(value, int | float):
            board.add_scalar(key, value, step)


def _abandon(board: Any) -> None:
    """Nobody waits for the library's own thread any more, at the end of the process either."""
    with suppress(AttributeError):
        writer = board.file_writer.event_writer
        writer._closed = True
        writer._event_queue.cancel_join_thread()


class _Files:
    """What tensorboardX asks for folders and files."""

    def directory_check(self, path: str) -> None:
        own_folder(_path(path))

    def open(self, path: str) -> _EventFile:
        return _EventFile(_path(path))


def _path(name: str) -> Path:
    return Path(name.removeprefix(f"{SCHEME}:"))


class _EventFile:
    """A file of events, which takes every byte: those that the disk does not take are held, and written with the next ones."""

    def __init__(self, path: Path) -> None:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._file = open_to_append(path.name, folder)
        finally:
            os.close(folder)
        self.path, self._waiting, self._told, self._full = path, bytearray(), False, False

    def write(self, data: bytes) -> None:
        self._waiting += b"" if self._full else data
        if len(self._waiting) > HELD:
            self._full = True
            self._waiting.clear()

    def flush(self) -> None:
        if self._full:  # for good: what was let go is in the middle
            return
        before = os.fstat(self._file).st_size
        try:
            if os.write(self._file, self._waiting) < len(self._waiting):
                raise OSError("no space left")
            self._waiting.clear()
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, before)  # events whole or not at all
            self._tell(error)

    def close(self) -> None:
        self.flush()
        os.close(self._file)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            logger.warning(
                "%s cannot be written (%s); metrics.jsonl still has every number", self.path, error.strerror or error
            )
        self._told = True
