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
import math
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from ssl_jax.rundir.durable import sync
from ssl_jax.rundir.lines import Lines

logger = logging.getLogger("ssl_jax")
logger.propagate = False  # orbax puts a handler on the root logger, which would print every line a second time

COLOURS = {"healthy": "32", "degrading": "33", "collapsed": "31"}  # ANSI; the word itself always stays
NONFINITE = "nonfinite"


def to_line(step: int, numbers: dict[str, Any]) -> str:
    """One line of metrics.jsonl. Floats are written so that they read back to the same bits.

    JSON has no nan or inf: such a value is written as null and named in `nonfinite`, e.g. `{"loss": "nan"}`.
    """
    record: dict[str, Any] = {"step": int(step)}
    odd: dict[str, str] = {}
    for key, value in numbers.items():
        value = value.item() if hasattr(value, "item") else value  # numpy and jax scalars
        if isinstance(value, float) and not math.isfinite(value):
            odd[key], value = repr(value), None
        record[key] = value
    return json.dumps(record | ({NONFINITE: odd} if odd else {}), allow_nan=False) + "\n"


def from_line(line: str) -> dict[str, Any]:
    """Inverse of `to_line`, `step` included. ValueError for a torn line."""
    record = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        raise ValueError("not a record with a step")
    return record | {k: float(v) for k, v in record.pop(NONFINITE, {}).items()}


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl (or of the run directory that holds it), in order, without lines cut short."""
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    return [record for _, record in _records(path)] if path.exists() else []


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if line.endswith("\n"):
                yield line, from_line(line)
        except ValueError:
            continue


def cut_back(path: Path, step: int | None) -> None:
    """Drop from a metrics.jsonl what comes after `step` (None: nothing) and lines cut short. All of it, or nothing."""
    kept = "".join(line for line, record in _records(path) if step is None or record["step"] <= step)
    if kept.encode() == path.read_bytes():
        return
    replace_file(path, kept)


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash at any moment, finds either the old one or the whole new one."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(new, path)
        sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


class _File(logging.FileHandler):
    """Appends to train.log. A full disk must not stop training here; saving the state will report it."""

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
    file = _File(folder / name, encoding="utf-8", delay=True)
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

    `workdir` is the run directory (a path, or anything with `.path`); `clock` gives seconds.
    """

    def __init__(
        self,
        workdir: Any,
        total_steps: int,
        tensorboard: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = Path(getattr(workdir, "path", workdir))
        self.total_steps, self.clock = total_steps, clock
        self.path = self.folder / "metrics.jsonl"
        self._file = Lines(self.path)
        self._board: Any = None
        self._board_wanted = tensorboard
        self._board_from: int | None = None
        self._times: deque[tuple[int, float]] = deque(maxlen=20)
        self._messages = messages(self.folder, stream)
        self._console = self._messages.__enter__()
        if self.path.exists():
            cut_back(self.path, None)  # a line cut short by a crash would spoil the next one

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, step: int, **numbers: Any) -> None:
        """Append one line to metrics.jsonl, on disk at once if the disk allows, and the finite numbers to TensorBoard.

        Values are numbers, strings, booleans or None; arrays with one element count as numbers.
        """
        line = to_line(step, numbers)
        self._file.append(line)
        self._to_tensorboard(step, json.loads(line))

    def sync(self) -> None:
        """Have what was written on disk, before a checkpoint promises it."""
        self._file.sync()

    def cut_back(self, step: int) -> None:
        """Drop what was written after `step`, the step that training resumes from."""
        self._file.close()
        if self.path.exists():
            cut_back(self.path, step)
        self._board_from = step + 1
        self._times.clear()

    def progress(self, step: int, **shown: Any) -> None:
        """The progress line. `shown` may hold loss, lr, examples_per_s, speeds (unit -> amount a second, where examples are
        not all), data_wait (a fraction of the time), checkpoint_age (seconds since the last checkpoint, or None) and health
        (a word); what is missing is left out."""
        self._times.append((step, self.clock()))
        (first, since), (last, now) = self._times[0], self._times[-1]
        left = (self.total_steps - step) * (now - since) / (last - first) if last > first else None
        logger.info("%s", progress_line(step, self.total_steps, left, **shown), extra={"progress": True})

    def close(self) -> None:
        """Finish the terminal line and close the files."""
        self._console.finish()
        self._file.close()
        if self._board is not None:
            self._guarded(self._board.close)
        self._messages.__exit__(None, None, None)

    def _to_tensorboard(self, step: int, record: dict[str, Any]) -> None:
        if not self._board_wanted:
            return
        if self._board is None:
            self._guarded(self._open_board)
        for key, value in record.items():
            if self._board_wanted and key != "step" and isinstance(value, int | float):
                self._guarded(self._board.add_scalar, key, value, step)

    def _open_board(self) -> None:
        from tensorboardX import SummaryWriter

        options: dict[str, Any] = {} if self._board_from is None else {"purge_step": self._board_from}
        self._board = SummaryWriter(str(self.folder / "tb"), **options)

    def _guarded(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except Exception as error:
            # A picture of the run must never stop the run; metrics.jsonl has the same numbers.
            if self._board_wanted:
                logger.warning("TensorBoard stopped (%s); metrics.jsonl still has every number", error)
            self._board_wanted = False


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

    def cut_back(self, step: int) -> None:
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
    checkpoint_age: float | None = None,
    health: str | None = None,
) -> str:
    """`step 120/2000 6% | loss 4.321 | lr 1.00e-03 | 1,234 examples/s | data wait 3% | ETA 1m20s | ...`, one line."""
    parts = [f"step {step}/{total} {100 * step // max(total, 1)}%"]
    if loss is not None:
        parts.append(f"loss {float(loss):.4g}")
    if lr is not None:
        parts.append(f"lr {float(lr):.2e}")
    if examples_per_s is not None:
        parts.append(f"{float(examples_per_s):,.0f} examples/s")
    parts += [f"{rounded(speed)} {unit}/s" for unit, speed in speeds.items()]
    if data_wait is not None:
        parts.append(f"data wait {100 * float(data_wait):.0f}%")
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
