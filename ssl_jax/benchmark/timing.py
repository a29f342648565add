"""Readings of functions that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """Seconds of one call: `wall`, and `cpu`, the processor time of all threads of this process."""

    wall: float
    cpu: float


def timed(call: Callable[[], object]) -> Reading:
    """One call, which has to wait for its device itself."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Reading(time.perf_counter() - wall, time.process_time() - cpu)


def alternate(calls: Mapping[str, Callable[[], Reading]], rounds: int) -> dict[str, list[Reading]]:
    """Readings of every call, one in each round, starting with another call in every round.

    What disturbs the machine for a while disturbs all of them.
    """
    names = list(calls)
    found: dict[str, list[Reading]] = {name: [] for name in names}
    for i in range(rounds):
        turn = i % max(len(names), 1)
        for name in names[turn:] + names[:turn]:
            found[name].append(calls[name]())
    return found


def summary(readings: Sequence[Reading]) -> dict[str, dict[str, float]]:
    """Median, least and most seconds of both clocks."""
    columns = {"wall": [r.wall for r in readings], "cpu": [r.cpu for r in readings]}
    return {
        clock: {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}
        for clock, seconds in columns.items()
    }
