"""A run that hangs ends: stacks of all threads on stderr, the process that is behind by name, exit code 1.

The timer is Python's `faulthandler`, a C thread: it fires while the interpreter waits inside a collective for ever.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import threading
import time
from typing import Any

import jax

from ssl_jax.devices.distributed import client
from ssl_jax.rundir.log import logger

KEY = "ssl_jax/progress/"
ORDER = ("start", "data", "compile", "step", "check", "save")  # how far into a step each phase is
GRACE = 2  # steps after a slow phase in which another process may still be in it


class Watchdog:
    """Call `beat` before everything that can take long; use it as a context manager.

    Args:
        hang_seconds: a step, or a wait for data, may take this long; 0 switches the watchdog off.
        startup_seconds: restoring, compiling, a check or a save may take this long, and the two steps after it, since a
            process that is through waits in them for one that is not.
    """

    def __init__(self, hang_seconds: float, startup_seconds: float) -> None:
        self._hang, self._startup = hang_seconds, startup_seconds
        self._off = hang_seconds <= 0
        self._grace = GRACE
        self._at: tuple[int, str, float, float] = (0, "start", time.monotonic(), startup_seconds)
        self._told: tuple[int, str] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if not self._off:
            self.beat(0, "start")
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._off:
            faulthandler.cancel_dump_traceback_later()
            self._closed.set()
            self._thread.join()

    def beat(self, step: int, phase: str) -> None:
        """This process is about to do `phase` (one of `ORDER`) of `step`; the clock starts again."""
        limit = self._hang
        if phase not in ("data", "step"):
            limit, self._grace = self._startup, GRACE
        elif phase == "step" and self._grace:
            limit, self._grace = self._startup, self._grace - 1
        self._at = (step, phase, time.monotonic(), limit)
        if not self._off:
            faulthandler.dump_traceback_later(limit, exit=True, file=_stderr())

    def _watch(self) -> None:
        """Share how far this process is, and say who is behind when half of the time has passed without a beat."""
        store = client() if jax.process_count() > 1 else None
        while not self._closed.wait(max(0.05, min(5.0, self._hang / 8))):
            step, phase, since, limit = self._at
            try:
                if store is not None:
                    mine = f"{step} {phase} {socket.gethostname()}"
                    store.key_value_set(f"{KEY}{jax.process_index()}", mine, allow_overwrite=True)
                waited = time.monotonic() - since
                if waited > limit / 2 and self._told != (step, phase):
                    self._told = (step, phase)
                    slowest = behind(dict(store.key_value_dir_get(KEY))) if store is not None else ""
                    _tell(step, phase, waited, limit - waited, slowest)
            except Exception as error:  # the store went away with process 0; the timer still runs
                logger.warning("watchdog: %s", str(error).splitlines()[0])
                return


def _tell(step: int, phase: str, waited: float, left: float, slowest: str) -> None:
    logger.warning(
        "no progress for %.0f s in phase %r of step %d%s; in %.0f s this process prints its stacks and exits 1",
        waited, phase, step, f"; {slowest}" if slowest else "", max(0.0, left),
    )  # fmt: skip


def behind(progress: dict[str, str]) -> str:
    """Who is farthest back: `progress` maps `.../<process>` to "<step> <phase> <host>"."""
    known: list[tuple[tuple[int, int], str, Any]] = []
    for key, value in progress.items():
        step, phase, host = value.split(" ", 2)
        place = (int(step), ORDER.index(phase))
        known.append((place, key.rpartition("/")[2], (step, phase, host)))
    least, most = min(k[0] for k in known), max(k[0] for k in known)
    if least == most:
        return "all processes are equally far"
    late = [(i, *what) for place, i, what in sorted(known, key=lambda k: int(k[1])) if place == least]
    named = ", ".join(f"process {i} on {host} (step {step}, phase {phase!r})" for i, step, phase, host in late[:8])
    return f"the others wait for {named}" + (f" and {len(late) - 8} more" if len(late) > 8 else "")


def _stderr() -> Any:
    """A stream with a file descriptor: what stands in for stderr (in a notebook, say) may have none."""
    try:
        sys.stderr.fileno()
        return sys.stderr
    except (AttributeError, OSError, ValueError):
        return sys.__stderr__ or os.open(os.devnull, os.O_WRONLY)
