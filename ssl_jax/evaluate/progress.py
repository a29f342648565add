"""How far an evaluation is: a line for each row while it is made, with its records in a second."""

from __future__ import annotations

import time
from collections.abc import Callable

Tick = Callable[[int, int], None]  # told how many of how many are done
Say = Callable[[str], None]
EVERY_SECONDS = 10.0


def unheard(done: int, total: int) -> None:
    """Nobody is told."""


class Progress:
    """`tick(done, total)` of one piece of work: told to `status` at most every few seconds, to `say` once at its end.

    `status` is for a line that is redrawn, `say` for one that stays. `what` is counted ("records", "examples"), in `title`.
    """

    def __init__(self, title: str, what: str, say: Say, status: Say, every: float = EVERY_SECONDS) -> None:
        self._title, self._what, self._say, self._status, self._every = title, what, say, status, every
        self._begun = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Tell that `done` of `total` are."""
        now = time.monotonic()
        rate = f"{done / max(now - self._begun, 1e-9):,.0f} {self._what}/s"
        if done >= total:
            self._say(f"{self._title}: {total:,} {self._what}, {rate}")
        elif now - self._told >= self._every:
            self._told = now
            self._status(f"{self._title}: {done:,} of {total:,} {self._what} {100 * done // total}% | {rate}")
