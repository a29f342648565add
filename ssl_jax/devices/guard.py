"""A process beside the one that trains, which ends it when its interpreter is held: then no thread in Python can.

The watchdog's thread writes a line (how many seconds are allowed) whenever it could run. Without a line for so long, not
counting the time in which the trainer was stopped, the trainer gets SIGABRT, which leaves its stacks in train.log
(`fatal.py`), and soon SIGKILL. This file is also the program that runs there; it needs the standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TICK, KILL_SECONDS = 0.5, 10.0


@contextmanager
def guarded() -> Iterator[int | None]:
    """A file descriptor that wants a line with a limit now and then; None where the system cannot tell who is stopped."""
    if not os.path.exists("/proc/self/stat"):
        yield None
        return
    command = [sys.executable, "-I", "-S", __file__, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        try:
            yield process.stdin.fileno()
        finally:
            with suppress(OSError):
                process.stdin.close()


def tell(line: int | None, limit: float) -> None:
    """This interpreter could run, and may be held for `limit` seconds from now on."""
    if line is not None:
        with suppress(OSError):  # the guard is gone, or slow
            os.write(line, f"{limit}\n".encode())


def watch(pid: int) -> None:
    """Until stdin ends, or `pid` is no longer the parent: end it when it has been silent for longer than it may."""
    limit, silent, last = float("inf"), 0.0, time.monotonic()
    while os.getppid() == pid:
        ready = select.select([0], [], [], TICK)[0]
        now = time.monotonic()
        silent, last = silent + min(now - last, 2 * TICK), now  # a longer gap was a pause of our own
        if ready:
            text = os.read(0, 65536)
            if not text:
                return
            limit, silent = float(text.split()[-1]), 0.0
        elif stopped(pid):
            silent = 0.0
        if silent > limit:
            end(pid, limit)
            return


def stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped the process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


def end(pid: int, limit: float) -> None:
    """SIGABRT, and SIGKILL for what does not end by it."""
    sys.stderr.write(f"ssl-jax: no thread of Python could run for {limit:g} s; ending process {pid}\n")
    sys.stderr.flush()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGABRT)
        for _ in range(int(KILL_SECONDS / TICK)):
            if os.getppid() != pid:
                return
            time.sleep(TICK)
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    watch(int(sys.argv[1]))
