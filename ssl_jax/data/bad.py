"""Records that cannot be read: replaced, counted and listed, and a stop when there are too many."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ssl_jax.errors import UserError

_ATTEMPTS = 64  # substitutes tried for one record; with half of all records bad, one in 2^64 runs out of them


@dataclass(frozen=True)
class BadRecord:
    """One line of the list: the record's number, what its source calls it, and why it could not be read."""

    index: int
    name: str
    reason: str


class Found(NamedTuple):
    """What reading brought to light: reads, how many of them failed, and the bad records."""

    reads: int
    failures: int
    entries: list[BadRecord]


class BadRecords:
    """Reads records of one source and survives the bad ones. Safe to share between threads.

    A record whose read raises is replaced by another one of the same source, chosen by a hash of its number, so that
    what replaces what depends on nothing else. Each bad record is listed once, in `entries` and, with `path`, as a JSON
    line appended to that file (lines that an earlier run left there are not repeated): by `append`, where a run that may be
    moved gives one.

    The run stops with a `UserError`
      * as soon as more than `limit_fraction` of all records are known to be bad, or
      * when so many records have failed that the fraction is all but certain to be exceeded: above what the limit allows
        for the reads so far by four standard deviations of that count, and four. One bad record among the first three
        says nothing, nor does the same one read a hundred times; a folder that went away is noticed in the first batch.

    `total` is of how many records the fraction is, where what is read is a random part of them.

    `UserError`s of the source itself pass through.
    """

    def __init__(
        self,
        limit_fraction: float = 0.001,
        path: str | Path | None = None,
        total: int | None = None,
        append: Callable[[str], None] | None = None,
    ) -> None:
        if not 0 <= limit_fraction <= 1:
            raise UserError(f"max_bad_fraction={limit_fraction} is not a fraction; use a number from 0 to 1")
        self.limit_fraction = limit_fraction
        self.total = total
        self.path = None if path is None else Path(path)
        self.reads = 0
        self.failures = 0
        self._bad: dict[int, BadRecord] = {}
        self._lock = threading.Lock()
        self._written = _already_in(self.path)
        self._append = append or (_nowhere if self.path is None else partial(_appended, self.path))

    @property
    def count(self) -> int:
        """How many different records were found bad."""
        return len(self._bad)

    @property
    def entries(self) -> list[BadRecord]:
        """The bad records in the order of their numbers."""
        with self._lock:
            return [self._bad[i] for i in sorted(self._bad)]

    def read(self, source: Any, index: int) -> tuple[int, dict[str, Any]]:
        """Record `index` of `source`, or its substitute, with the number of the record that it really is.

        Raises:
          UserError: too many bad records, or 64 substitutes that cannot be read either.
        """
        chosen = index
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                record = source[chosen]
            except (UserError, MemoryError):
                raise
            except Exception as error:  # whatever a decoder raises on a damaged file
                self._count_failure(source, chosen, error)
            else:
                with self._lock:
                    self.reads += 1
                return chosen, record
            chosen = substitute(index, attempt, len(source))
        raise UserError(
            f"record {index} and {_ATTEMPTS} others instead of it cannot be read, among them {self.told()}; "
            f"check that the storage is there"
        )

    def found(self) -> Found:
        """All of it so far, to be added elsewhere."""
        return Found(self.reads, self.failures, self.entries)

    def add(self, found: Found, total: int) -> None:
        """Count what another process found among `total` records. UserError where that is too much."""
        with self._lock:
            self.reads += found.reads
            self.failures += found.failures
            for bad in found.entries:
                self._note(bad)
            if found.entries:
                self._stop_at_too_many(total, None)

    def _count_failure(self, source: Any, index: int, error: Exception) -> None:
        name = source.name_of(index) if hasattr(source, "name_of") else str(index)
        reason = f"{type(error).__name__}: {error}"
        with self._lock:
            self.reads += 1
            self.failures += 1
            self._note(BadRecord(index, name, reason))
            self._stop_at_too_many(len(source), error)

    def _note(self, bad: BadRecord) -> None:
        if bad.index not in self._bad:
            self._bad[bad.index] = bad
            self._list(bad)

    def _stop_at_too_many(self, total: int, error: Exception | None) -> None:
        if self._too_many(total):
            raise UserError(
                f"{self.count} of {total} records cannot be read ({self.failures} of {self.reads} reads); "
                f"max_bad_fraction={self.limit_fraction} does not allow that. The first: {self.told()}. "
                f"Repair or remove them, or raise data.max_bad_fraction"
            ) from error

    def _too_many(self, total: int) -> bool:
        allowed = self.limit_fraction * self.reads
        certain = self.count > allowed + 4 * math.sqrt(allowed) + 4
        return self.limit_fraction < 1 and (certain or self.count > self.limit_fraction * (self.total or total))

    def told(self) -> str:
        """The first three that were found, with their reasons."""
        return "; ".join(f"{bad.name} ({bad.reason})" for bad in list(self._bad.values())[:3])

    def _list(self, bad: BadRecord) -> None:
        if bad.index not in self._written:
            self._append(json.dumps(asdict(bad)) + "\n")


def substitute(index: int, attempt: int, total: int) -> int:
    """The record in [0, total) that stands in for record `index` at the given attempt: a hash of both."""
    digest = hashlib.blake2b(f"{index} {attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % total


def _nowhere(line: str) -> None:
    pass


def _appended(path: Path, line: str) -> None:
    """A full disk does not stop the run here: the record is counted, and listed by the next run that meets it."""
    with suppress(OSError), path.open("a", encoding="ascii") as file:
        file.write(line)


def _already_in(path: Path | None) -> set[int]:
    """Record numbers that the list already holds. A last line that a crash cut off is removed from it."""
    if path is None or not path.exists():
        return set()
    whole = path.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if kept != whole:
        os.truncate(path, len(kept))
    try:
        return {int(json.loads(line)["index"]) for line in kept.splitlines()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{str(path)!r} is not a list of bad records ({error}); move it away") from error
