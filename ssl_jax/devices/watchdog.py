"""A run that hangs ends: stacks of all threads on stderr, the process that is behind by name, exit code 1.

A thread counts the time in which this process could run: while it is stopped (SIGSTOP, Ctrl-Z, a suspended job) nothing counts.
It runs while the main thread waits inside a collective for ever. What holds the interpreter itself stops that thread too; for
that there is a process beside this one (`guard.py`). Python's own timer, `faulthandler`, takes a pause for a hang.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, NamedTuple

import jax

from ssl_jax.devices.guard import guarded, tell
from ssl_jax.devices.peers import client
from ssl_jax.rundir.log import logger

KEY = "ssl_jax/progress/"
ORDER = ("start", "data", "compile", "step", "check", "save")  # how far into a step each phase is
GRACE = 2  # steps after a slow phase in which another process may still be in it


class Beat(NamedTuple):
    """What this process began to do, and how many seconds it may take."""

    step: int
    phase: str
    limit: float


class Watchdog:
    """Call `beat` before everything that can take long; use it as a context manager.

    Args:
        hang_seconds: a step, or a wait for data, may take this long; 0 switches the watchdog off.
        startup_seconds: restoring, compiling, a check or a save may take this long, and the two steps after it, since a
            process that is through waits in them for one that is not.
    """

    def __init__(self, hang_seconds: float, startup_seconds: float) -> None:
        self._hang, self._startup = hang_seconds, startup_seconds
        self._tick = max(0.05, min(5.0, hang_seconds / 8))
        self._grace = GRACE
        self._at = Beat(0, "start", startup_seconds)
        self._ran = (self._at, 0.0)  # since which beat, and for how long
        self._closed = threading.Event()
        self._guard = ExitStack()
        self._line: int | None = None
        watchers = (self._count, self._share) if hang_seconds > 0 else ()
        self._threads = [threading.Thread(target=watch, name="watchdog", daemon=True) for watch in watchers]

    def __enter__(self) -> Watchdog:
        if self._threads:
            self._line = self._guard.enter_context(guarded())
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        for thread in self._threads[:1]:  # the other one may wait for a store that is gone
            thread.join()
        self._guard.close()

    def beat(self, step: int, phase: str) -> None:
        """This process is about to do `phase` (one of `ORDER`) of `step`; the clock starts again."""
        limit = self._hang
        if phase not in ("data", "step"):
            limit, self._grace = self._startup, GRACE
        elif phase == "step" and self._grace:
            limit, self._grace = self._startup, self._grace - 1
        self._at = Beat(step, phase, limit)
        tell(self._line, limit)

    def _count(self) -> None:
        """Add up the time that this process ran without a beat, and end it at the limit."""
        last = time.monotonic()
        while not self._closed.wait(self._tick):
            now, at, (since, ran) = time.monotonic(), self._at, self._ran
            ran = ran + running(now - last, self._tick) if at is since else 0.0
            last, self._ran = now, (at, ran)
            tell(self._line, at.limit)
            if ran > at.limit:
                _end(at.limit)

    def _share(self) -> None:
        """Share how far this process is, and say who is behind when half of the time has passed without a beat."""
        store = client()
        told: Beat | None = None
        while not self._closed.wait(self._tick):
            at, ran = self._ran
            try:
                if store is not None:
                    mine = f"{at.step} {at.phase} {socket.gethostname()}"
                    store.key_value_set(f"{KEY}{jax.process_index()}", mine, allow_overwrite=True)
                if ran > at.limit / 2 and told is not at:
                    told = at
                    slowest = behind(dict(store.key_value_dir_get(KEY))) if store is not None else ""
                    _tell(at.step, at.phase, ran, at.limit - ran, slowest)
            except Exception as error:  # the store went away with process 0; the other thread still counts
                logger.warning("watchdog: %s", str(error).splitlines()[0])
                return


def running(passed: float, tick: float) -> float:
    """How much of the time since the last tick, which was due after `tick`, counts: what is far more was not ours to use."""
    return passed if passed < 2 * tick else tick


def _end(limit: float) -> None:
    stderr = _stderr()
    os.write(
        stderr if isinstance(stderr, int) else stderr.fileno(), f"Timeout ({timedelta(seconds=limit)})!\n".encode()
    )
    faulthandler.dump_traceback(stderr, all_threads=True)
    os._exit(1)


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
