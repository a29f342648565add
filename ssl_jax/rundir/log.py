"""What a run tells while it trains: metrics.jsonl, train.log, TensorBoard, and one line on the terminal.

    with MetricsLog(workdir, total_steps=2000) as log:
        log.cut_back(restored_step)                      # when resuming
        log.write(10, loss=4.2, lr=1e-3)                 # a line of metrics.jsonl, points in TensorBoard
        log.progress(10, loss=4.2, lr=1e-3, examples_per_s=900, data_wait=0.03, checkpoint_age=12.0, health="healthy")

Everything goes through the logger named `ssl_jax`: what is shown on the terminal is in train.log too, with the time.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from ssl_jax.rundir.board import Board
from ssl_jax.rundir.lines import Lines
from ssl_jax.rundir.metrics import cut_back, heal, remove_redone
from ssl_jax.rundir.metrics import from_line as from_line
from ssl_jax.rundir.metrics import read_metrics as read_metrics
from ssl_jax.rundir.metrics import to_line as to_line
from ssl_jax.rundir.tracker import Tracker
from ssl_jax.rundir.writing import open_to_append
from ssl_jax.rundir.writing import replace_file as replace_file

logger = logging.getLogger("ssl_jax")
logger.propagate = False  # orbax puts a handler on the root logger, which would print every line a second time

COLOURS = {"healthy": "32", "degrading": "33", "collapsed": "31"}  # ANSI; the word itself always stays


class _File(logging.FileHandler):
    """Appends to train.log, in the directory that the path named at first and through no link. A full disk must not stop
    training here; saving the state will report it."""

    def _open(self) -> TextIOWrapper:
        folder = os.open(os.path.dirname(self.baseFilename), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            file = open_to_append(os.path.basename(self.baseFilename), folder)
        finally:
            os.close(folder)
        return TextIOWrapper(os.fdopen(file, "ab"), encoding=self.encoding, errors=self.errors)

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def messages(folder: Path, stream: TextIO | None = None, name: str = "train.log") -> Iterator[Console]:
    """Show what the `ssl_jax` logger says on `stream` (default: stderr); append it to `folder`/`name`.

    Inside a block for the same folder this is that block's console, so that nothing is told twice.
    """
    for handler in logger.handlers:
        if isinstance(handler, Console) and handler.folder == folder:
            yield handler
            return
    console = Console(sys.stderr if stream is None else stream, folder)
    file = _File(folder / name, encoding="utf-8", delay=True, errors="backslashreplace")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    level = logger.level
    logger.setLevel(logging.INFO)
    for handler in (console, file):
        logger.addHandler(handler)
    try:
        yield console
    finally:
        console.finish()
        for handler in (console, file):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)


class Console(logging.Handler):
    """Messages on a stream. On a terminal the progress line is redrawn in place below them; elsewhere it is a line.

    Colour only on a terminal, and never with NO_COLOR set or TERM=dumb. Records with `extra={"shown": False}` are only
    for the file.
    """

    def __init__(self, stream: TextIO, folder: Path) -> None:
        super().__init__()
        self.stream, self.folder, self.status = stream, folder, ""
        self.in_place = bool(getattr(stream, "isatty", lambda: False)()) and os.environ.get("TERM") != "dumb"
        self.colour = self.in_place and not os.environ.get("NO_COLOR")

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record; `record.progress` marks the progress line."""
        if not getattr(record, "shown", True):
            return
        text = record.getMessage()
        progress = getattr(record, "progress", False)
        if not progress and record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        with suppress(OSError, ValueError):  # the terminal may go away; training goes on
            if not self.in_place:
                self.stream.write(text + "\n")
            elif progress:
                self.status = text
                self.stream.write("\r\x1b[2K" + self._painted(text[: shutil.get_terminal_size().columns - 1]))
            else:
                self.stream.write("\r\x1b[2K" + text + "\n" + self._painted(self.status))
            self.stream.flush()

    def finish(self) -> None:
        """Leave the last progress line standing."""
        if self.in_place and self.status:
            self.status = ""
            with suppress(OSError, ValueError):
                self.stream.write("\n")
                self.stream.flush()

    def _painted(self, text: str) -> str:
        if self.colour:
            for word, code in COLOURS.items():
                text = text.replace(word, f"\x1b[{code}m{word}\x1b[0m")
        return text


class MetricsLog:
    """Everything that is written while training. Close it, or use it as a context manager.

    `workdir` is the run directory (a path, or anything with `.path`); `clock` gives seconds; `trackers` get what it gets.
    """

    def __init__(
        self,
        workdir: Any,
        total_steps: int,
        tensorboard: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.folder = Path(getattr(workdir, "path", workdir))
        self.total_steps, self.clock = total_steps, clock
        self.path = self.folder / "metrics.jsonl"
        self._file = Lines(self.path)
        self._boards: list[Board | Tracker] = [*([Board(self.folder / "tb")] if tensorboard else []), *trackers]
        self._times: deque[tuple[int, float]] = deque(maxlen=20)
        self._messages = messages(self.folder, stream)
        self._console = self._messages.__enter__()
        heal(self.path)  # a line cut short by a crash would spoil the next one

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, step: int, **numbers: Any) -> None:
        """Append one line to metrics.jsonl, on disk at once if the disk allows, and the finite numbers to TensorBoard and others.

        Values are numbers, strings, booleans or None; arrays with one element count as numbers.
        """
        line = to_line(step, numbers)
        self._file.append(line)
        for board in self._boards:
            board.write(step, json.loads(line))

    def sync(self) -> None:
        """Have what was written on disk, before a checkpoint promises it."""
        self._file.sync()

    def cut_back(self, step: int, usual: int = 0) -> None:
        """Drop what was written after `step`, the step that training resumes from (-1: it begins). A copy stays; `usual` is how
        many steps a run that was killed may have lost."""
        self._file.close()
        cut_back(self.path, step, usual)
        for board in self._boards:
            board.purge(step + 1)
        self._times.clear()

    def progress(self, step: int, **shown: Any) -> None:
        """The progress line. `shown` may hold loss, lr, examples_per_s, speeds (unit -> amount a second, where examples are
        not all), data_wait (a fraction of the time), slowest_stage (of batches on their way), checkpoint_age (seconds since the
        last checkpoint, or None) and health (a word); what is missing is left out."""
        self._times.append((step, self.clock()))
        (first, since), (last, now) = self._times[0], self._times[-1]
        left = (self.total_steps - step) * (now - since) / (last - first) if last > first else None
        logger.info("%s", progress_line(step, self.total_steps, left, **shown), extra={"progress": True})

    def close(self) -> None:
        """Finish the terminal line and close the files."""
        self._console.finish()
        self._file.close()
        with suppress(OSError):
            remove_redone(self.path)
        for board in self._boards:
            board.close()
        self._messages.__exit__(None, None, None)


class NoLog:
    """Stands in for `MetricsLog` in every process but the first: the numbers are the same in all."""

    def __init__(self, total_steps: int) -> None:
        self.total_steps = total_steps

    def __enter__(self) -> NoLog:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def write(self, step: int, **numbers: Any) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def cut_back(self, step: int, usual: int = 0) -> None:
        """Nothing."""

    def progress(self, step: int, **shown: Any) -> None:
        """Nothing."""


def progress_line(
    step: int,
    total: int,
    seconds_left: float | None,
    *,
    loss: float | None = None,
    lr: float | None = None,
    examples_per_s: float | None = None,
    speeds: Mapping[str, float] = MappingProxyType({}),
    data_wait: float | None = None,
    slowest_stage: str | None = None,
    checkpoint_age: float | None = None,
    health: str | None = None,
) -> str:
    """`step 120/2000 6% | loss 4.321 | lr 1.00e-03 | 1,234 examples/s | data wait 3% (decode) | ETA 1m20s`, one line."""
    parts = [f"step {step}/{total} {100 * step // max(total, 1)}%"]
    if loss is not None:
        parts.append(f"loss {float(loss):.4g}")
    if lr is not None:
        parts.append(f"lr {float(lr):.2e}")
    if examples_per_s is not None:
        parts.append(f"{float(examples_per_s):,.0f} examples/s")
    parts += [f"{rounded(speed)} {unit}/s" for unit, speed in speeds.items()]
    if data_wait is not None:
        percent = round(100 * float(data_wait))
        parts.append(f"data wait {percent}%" + (f" ({slowest_stage})" if percent and slowest_stage else ""))
    parts.append("ETA " + ("?" if seconds_left is None else short_time(seconds_left)))
    parts.append("no checkpoint yet" if checkpoint_age is None else f"checkpoint {short_time(checkpoint_age)} ago")
    if health:
        parts.append(health)
    return " | ".join(parts)


def rounded(number: float) -> str:
    """Three digits, and every digit before the point: `0.0123`, `98.7`, `1,250`."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def short_time(seconds: float) -> str:
    """`42s`, `1m20s`, `3h05m`, `2d04h`."""
    s = max(0, round(seconds))
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    return f"{s // 3600}h{s % 3600 // 60:02d}m" if s < 86400 else f"{s // 86400}d{s % 86400 // 3600:02d}h"
