"""The directory of checkpoints: which steps are complete, what replaces a damaged one, what is removed.

A step is written under `<step>.saving`, hashed into a manifest, and renamed to `<step>`: a directory whose name is a number
is complete, and survives a power cut. One that turns out damaged is renamed, never deleted.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ssl_jax.checkpoint import manifest
from ssl_jax.checkpoint.manifest import CheckpointCorrupt
from ssl_jax.rundir.durable import make_directory, sync
from ssl_jax.rundir.log import logger

SAVING, REMOVING = ".saving", ".removing"
PROBE = f"probe{SAVING}"
ROOM = 1.2  # free space needed, as a multiple of the state


class StepDirectories:
    """`<workdir>/checkpoints`. Only one process of a run may change it; `read_only` changes nothing."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path, self._read_only = Path(path).resolve(), read_only
        self._sound: set[int] = set()  # steps that were hashed by this object, when written or when checked

    def steps(self) -> list[int]:
        """The steps that are complete, oldest first. Anything else in the directory is ignored."""
        if not self.path.is_dir():
            return []
        numbered = (p for p in self.path.iterdir() if p.name.isdecimal() and str(int(p.name)) == p.name)
        return sorted(int(p.name) for p in numbered if manifest.exists(p))

    def digest(self, step: int) -> str:
        """A SHA-256 of the manifest of `step`, which has one of every file."""
        return hashlib.sha256((self.path / str(step) / manifest.NAME).read_bytes()).hexdigest()

    def check(self, step: int) -> None:
        """CheckpointCorrupt unless every file of `step` is what was written."""
        if step not in self._sound:
            manifest.check(self.path / str(step))
            self._sound.add(step)

    def newest_sound(self) -> tuple[int | None, bool]:
        """The newest step whose files are those that were written, or None; and whether a damaged one was met.

        Damaged ones are told and renamed to `<step>.corrupt-<time>` on the way.
        """
        found = self.steps()
        for step in reversed(found):
            try:
                self.check(step)
            except CheckpointCorrupt as error:
                self._set_aside(step, "corrupt", str(error))
            else:
                return step, step != found[-1]
        return None, bool(found)

    def refuse_stranger(self, step: int) -> None:
        """Set aside what stands where `step` will be saved, if this object neither wrote nor checked it."""
        if step in self.steps() and step not in self._sound:
            self._set_aside(step, "stranger", "it came from elsewhere while this run trained")

    def set_aside_after(self, step: int, word: str, reason: str) -> None:
        """Rename the checkpoints of later steps to `<step>.<word>-<time>`, the newest first."""
        for later in reversed([found for found in self.steps() if found > step]):
            self._set_aside(later, word, reason)

    def saving(self, step: int) -> Path:
        """Where `step` is written until it is complete."""
        return self.path / f"{step}{SAVING}"

    def publish(self, step: int, keep: int, keep_every: int) -> None:
        """Give a written step its manifest and its name; remove all but the `keep` newest and multiples of `keep_every`.

        Files, directories, manifest, name: each is on disk before the next is written, and all before anything is removed.
        """
        manifest.write(self.saving(step))
        self.saving(step).rename(self.path / str(step))
        sync(self.path)
        self._sound.add(step)
        for old in self.steps()[:-keep]:
            if not (keep_every and old % keep_every == 0):
                gone = self.path / f"{old}{REMOVING}"
                with suppress(OSError):
                    (self.path / str(old)).rename(gone)
                    shutil.rmtree(gone)

    def obstacle(self, size: int) -> str:
        """Why `size` bytes should not be written now, or nothing. Writes a little, since a mode or a quota need not show."""
        probe = self.path / PROBE
        try:
            free = shutil.disk_usage(self.path).free
            try:
                probe.write_bytes(b"x")
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            return f"{error.strerror}: {self.path}"
        return "" if free >= ROOM * size else f"{free / 1e6:.1f} MB are free, {ROOM * size / 1e6:.1f} MB are needed"

    def drop_partial(self, step: int) -> None:
        """Remove what was written of a save that failed."""
        for path in self._numbered(f"{step}{SAVING}*"):
            shutil.rmtree(path, ignore_errors=True)

    def tidy(self) -> None:
        """At the start: create the directory, remove what a killed run left half-written, set aside what is no checkpoint."""
        make_directory(self.path)
        (self.path / PROBE).unlink(missing_ok=True)
        for path in self._numbered(f"*{SAVING}*", f"*{REMOVING}"):
            shutil.rmtree(path, ignore_errors=True)
        for path in list(self.path.iterdir()):
            if path.name.isdecimal() and path.is_dir() and not manifest.exists(path):
                self._set_aside(int(path.name), "incomplete", f"{manifest.NAME} is missing", path.name)

    def _numbered(self, *patterns: str) -> Iterator[Path]:
        for pattern in patterns:
            yield from (p for p in self.path.glob(pattern) if p.name.split(".")[0].isdecimal())

    def _set_aside(self, step: int, word: str, reason: str, name: str = "") -> None:
        logger.error("the checkpoint of step %d in %s is not usable: %s", step, self.path, reason)
        if self._read_only:
            return
        stamp = time.strftime("%Y%m%dT%H%M%S")
        names = (f"{step}.{word}-{stamp}{again}" for again in ("", *(f"-{i}" for i in range(2, 1000))))
        new = next(n for n in names if not (self.path / n).exists())
        (self.path / (name or str(step))).rename(self.path / new)
        logger.error("it was renamed to %s; delete it when you do not need it", new)
