"""What batches on their way spend time in, by stage: `read` (from a disk or network), `decode`, `crop`, `place` (on devices)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_lock = threading.Lock()
_spent: dict[str, float] = {}
_here = threading.local()  # `inner`: the seconds that stages inside the one that this thread is in took


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time of what stands inside for the stage `name`; a stage inside another counts for itself alone."""
    start, outer = time.perf_counter(), getattr(_here, "inner", 0.0)
    _here.inner = 0.0
    try:
        yield
    finally:
        took = time.perf_counter() - start
        add({name: took - _here.inner})
        _here.inner = outer + took


def add(seconds: Mapping[str, float]) -> None:
    """Count what another process spent."""
    with _lock:
        for name, took in seconds.items():
            _spent[name] = _spent.get(name, 0.0) + took


def shares(seconds: Mapping[str, float], elapsed: float, readers: int) -> dict[str, float]:
    """The part of `elapsed` seconds that went into each stage: one that is 1 leaves no time for anything else.

    `readers` threads or processes share all stages but `place`, which is the training thread's.
    """
    return {name: took / elapsed / (1 if name == "place" else readers) for name, took in seconds.items()}


def taken() -> dict[str, float]:
    """Seconds by stage of all threads since this was asked last."""
    with _lock:
        found = _spent.copy()
        _spent.clear()
        return found
