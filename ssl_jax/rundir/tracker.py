"""Weights & Biases and MLflow beside a run: neither can stop the run or make it wait, whatever it does.

The library works in a process of its own, which is told a line at a time through a pipe: it may hang, crash or be killed there. A
thread writes into the pipe, behind a short queue; what finds no room is dropped and counted. No account is needed: where the
library's own variables (WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, ...) say nothing, everything stays in the run directory.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

from ssl_jax.errors import UserError
from ssl_jax.rundir.writing import open_to_append

logger = logging.getLogger("ssl_jax")

WAITING = 1_000  # lines that may wait for the process
PATIENCE = 30.0  # seconds, at the end of a run
KNOWN = {"wandb": "Weights & Biases", "mlflow": "MLflow"}


class Tracker:
    """The finite numbers of a run, for the library `name`. Nothing here raises or waits, but `close`, a while.

    command: what is started to do it; it reads lines of JSON, `{"step": 10, "loss": 4.2}`, until they end.
    """

    def __init__(self, name: str, folder: Path, command: Sequence[str] = ()) -> None:
        self._name, self._folder = name, folder
        self._command = command or [sys.executable, "-m", "ssl_jax.rundir.tracked", name, str(folder.resolve())]
        self._lines: queue.Queue[str | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._dropped, self._wanted = 0, True

    def purge(self, step: int) -> None:
        """Nothing: neither library takes back what it was told."""

    def write(self, step: int, record: dict[str, Any]) -> None:
        """Add the numbers of a line of metrics."""
        if not self._wanted:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        try:
            self._lines.put_nowait(json.dumps(numbers | {"step": step}) + "\n")
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Tell it what is left; what does not come to an end within `PATIENCE` is killed."""
        if self._thread is None:
            return
        with suppress(queue.Full):
            self._lines.put(None, timeout=PATIENCE)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._stop("it does not come to an end")
            self._thread.join(1.0)
        if self._dropped:
            told = "%s did not keep up: %d lines were dropped; metrics.jsonl has every number"
            logger.warning(told, KNOWN.get(self._name, self._name), self._dropped)

    def _work(self) -> None:
        try:
            process = self._process = self._started()
            with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as pipe:
                while self._wanted and (line := self._lines.get()) is not None:
                    pipe.write(line.encode())
                    pipe.flush()
            if code := process.wait():
                self._stop(f"it ended with exit code {code}; {self._name}.log says why")
        except Exception as error:  # a picture of the run must never stop the run
            self._stop(error)

    def _started(self) -> subprocess.Popen[bytes]:
        """In a session of its own, so that Ctrl-C lets it take what is left; what it says is kept beside the run."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.fdopen(open_to_append(f"{self._name}.log", folder), "ab") as log:
                return subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=_environment(),
                )
        finally:
            os.close(folder)

    def _stop(self, reason: object) -> None:
        if self._wanted:
            logger.warning("%s stopped (%s); metrics.jsonl has every number", KNOWN.get(self._name, self._name), reason)
        self._wanted = False
        if self._process is not None:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)


def check_installed(names: Sequence[str]) -> None:
    """UserError for a library that is not there."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"log.{name}=True needs {KNOWN[name]}, which is not installed: pip install 'ssl_jax[{name}]'"
            )


def _environment() -> dict[str, str]:
    """The process must find this package, and take hold of no accelerator."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
