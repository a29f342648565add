"""SIGTERM, SIGINT and what clusters send before their end: finish the step, save, exit 0. A second SIGINT exits at once.

A thread reads the signals from a pipe that the C handler writes to, so that the second SIGINT works while Python waits for
the compiler or the device.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils

from ssl_jax.devices.peers import client
from ssl_jax.rundir.log import logger

INTERRUPTED = 130  # 128 + SIGINT, what shells expect
# Before a time limit (SLURM --signal, LSF, PBS, SGE), when a terminal closes, and when the CPU time of `ulimit -t` is used up.
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU)


class Stop:
    """Whether this run was asked to end. All processes of a run ask at the same places, and get the same answer."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._asked = 0

    def requested(self) -> bool:
        """Ask once every dispatch. True in all processes at the same call, once any of them was told to stop.

        With several processes jax's preemption service carries the news: it waits for one call beyond the farthest
        process, so calls are counted rather than steps, of which a dispatch may hold several.
        """
        self._asked += 1
        if jax.process_count() == 1:
            return self.reason is not None
        if not multihost_utils.reached_preemption_sync_point(self._asked):
            return False
        self.reason = self.reason or "a signal to one of the processes"
        return True

    def _received(self, number: int) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and self.reason is not None:
            sys.stderr.write("\nssl-jax: interrupted twice; stopping at once, without saving\n")
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        if self.reason is not None and number != signal.SIGINT:
            return  # SIGXCPU comes every second
        again = "; once more stops at once" if number == signal.SIGINT else ""
        logger.warning("%s: finishing the step and saving%s", name, again)
        self.reason = name
        if number != signal.SIGTERM and jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)  # what jax's preemption service listens to


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Handle the signals inside the block. Outside the main thread, where Python allows no handlers: nothing.

    With several processes SIGTERM is left to jax's preemption service, which has installed its own handler. A warning that
    is ignored from outside (SIGHUP under nohup) stays ignored.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    several = jax.process_count() > 1 and client() is not None
    ours = (signal.SIGINT,) if several else (signal.SIGINT, signal.SIGTERM)
    numbers = (*ours, *(n for n in WARNINGS if signal.getsignal(n) != signal.SIG_IGN))
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    read, write = os.pipe()
    os.set_blocking(write, False)
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=(read, stop), name="signals", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(write, b"\0")
        thread.join()
        os.close(read)
        os.close(write)


def _listen(read: int, stop: Stop) -> None:
    while (data := os.read(read, 1)) != b"\0":
        if data[0] in (signal.SIGINT, signal.SIGTERM, *WARNINGS):
            stop._received(data[0])
