"""A process that dies by a signal of the machine (SIGBUS: a memory-mapped file was cut; SIGSEGV) leaves a word."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def fatal_signals_told(log: Path) -> Iterator[None]:
    """Inside, SIGBUS, SIGSEGV, SIGFPE, SIGABRT and SIGILL append their name and the stacks of all threads to `log`."""
    before = faulthandler.is_enabled()
    try:
        file = log.open("ab")
    except OSError:  # a log that cannot be written stops no run
        yield
        return
    with file:
        faulthandler.enable(file)
        try:
            yield
        finally:
            faulthandler.disable()
            if before and sys.__stderr__ is not None:
                with suppress(OSError, ValueError):
                    faulthandler.enable(sys.__stderr__)
