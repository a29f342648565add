"""Where a run writes: its directory itself, held open, whatever its path names by now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ssl_jax.errors import UserError


@dataclass(frozen=True)
class Place:
    """The directory that `path` named when it was opened. `folder` is an open descriptor of it."""

    path: Path
    folder: int

    def check(self) -> None:
        """UserError if the path names another directory by now, or this one lies elsewhere: a run that was moved would write
        into another's. A path that names nothing, as of storage that is away, is left to who writes there."""
        now = self.now()
        if now is not None and now != self.path:
            raise UserError(
                f"the run directory {self.path} was moved to {now} while it was in use; nothing more is written, so that no "
                f"other run's files are touched. Start again with --workdir {now}: it resumes from the last checkpoint"
            )
        if now is None and os.path.lexists(self.path):
            raise UserError(
                f"{self.path} is another directory than the one in which this run began, which was moved or removed; nothing "
                "more is written. Start again with --workdir where it lies now"
            )

    def now(self) -> Path | None:
        """Where the directory lies now, or None where that is not known."""
        known = (self.path, *self._as_the_kernel_says())
        return next((path for path in known if self._is(path)), None)

    def _as_the_kernel_says(self) -> Iterator[Path]:
        with suppress(OSError):  # not on every system
            yield Path(os.readlink(f"/proc/self/fd/{self.folder}"))

    def _is(self, path: Path) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(self.folder))
        except OSError:
            return False


@contextmanager
def held(path: Path) -> Iterator[Place]:
    """The directory `path`, held open inside the block."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Place(path, folder)
    finally:
        os.close(folder)
