"""Keeps a store like a local run directory, from a thread, while the run writes the directory and knows nothing of it.

Each round sends the newest checkpoint that the store has not, all processes sending a share of its files; when every file is
there the first process sends metrics and logs, marks the step, and removes the steps that training removed. Nothing here
makes a step of training wait. A store that does not answer is asked again, ever more rarely, for as long as the run lasts.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from ssl_jax.checkpoint import manifest
from ssl_jax.remote import steps
from ssl_jax.remote.lease import Lease
from ssl_jax.remote.store import Store, StoreAway
from ssl_jax.rundir.log import logger

EVERY_SECONDS = 30  # how often metrics and logs go up
SHARE_OF_TIME = 0.05  # and what part of the time that may take at most
PEER_SECONDS = 30  # how long the first process waits for another's share of a checkpoint, before it sends that too
POLL_SECONDS, LONGEST_PAUSE = 0.5, 60.0
LAST_PAUSE = 5.0
WHOLE = 2**26  # bytes; smaller files are sent as they were at one moment, since they may be growing
LOCAL = {"LOCK", steps.CHECKPOINTS}  # what is not mirrored as it is

Stamp = tuple[int, int]


class Mirror:
    """Mirrors `folder` into `store` from `start` to `finish`. Process 0 of `count` holds the `lease`; the others have none."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        lease: Lease | None,
        index: int = 0,
        count: int = 1,
        every: float = EVERY_SECONDS,
    ) -> None:
        self.store, self.folder, self.lease = store, folder, lease
        self.index, self.count, self.every = index, count, every
        self.marked: set[int] = set()  # what the store promises, as far as this process knows
        self._shares: set[int] = set()  # steps whose share this process has sent
        self._waiting: tuple[int, float] | None = None  # the step that others still send, and since when
        self._sent: dict[str, Stamp] = {}
        self._next_logs = 0.0
        self._problem, self._away_since = "", 0.0
        self._ending, self._done, self._given_up = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    def start(self) -> None:
        """Begin to mirror what is in the folder, and what is written into it."""
        self._thread.start()

    def finish(self, patience: float) -> str:
        """Send what is left. What kept it from being sent, if that lasted for `patience` seconds; or nothing.

        While parts of files arrive it waits for as long as they take. A request that hangs is a problem after `store.still`
        seconds, so that this ends whatever the store does.
        """
        started = time.monotonic()
        self._ending.set()
        while not self._done.wait(POLL_SECONDS):
            if self._problem and time.monotonic() - max(started, self._away_since, self.store.moved.at) > patience:
                break
        self._given_up.set()
        shutil.rmtree(self._pins(), ignore_errors=True)
        return "" if self._done.is_set() else self._problem

    def round(self, ending: bool = False) -> bool:
        """Send what there is to send. True: nothing is left. Raises StoreAway."""
        if self._lost():
            return True
        left = self._send_steps()
        if self.index == 0:
            if ending or (time.monotonic() >= self._next_logs and (self.folder / "metrics.jsonl").exists()):
                self._send_logs()
            if not left:
                self._remove_old()
        return not left

    def _work(self) -> None:
        pause = POLL_SECONDS
        while not self._given_up.is_set():
            ending = self._ending.is_set()
            try:
                finished = self.round(ending)
                self._answered()
                pause = POLL_SECONDS
            except Exception as error:  # training goes on, whatever happens here
                finished = False
                self._away(error)
                pause = min(2 * pause, LONGEST_PAUSE)
            if ending and finished:
                self._done.set()
                return
            self._pause(pause, ending)

    def _pause(self, seconds: float, ending: bool) -> None:
        """Between two rounds; at the end, sooner."""
        if ending:
            time.sleep(min(seconds, LAST_PAUSE))
        else:
            self._ending.wait(seconds)

    # --- checkpoints

    def _send_steps(self) -> bool:
        """Send the newest step that the store has not. Whether one is left."""
        todo = [step for step in steps.steps_on_disk(self.folder) if step not in self.marked]
        if self.index:
            todo = [step for step in todo if step not in self._shares]
        if not todo:
            return False
        self._send(todo[-1])
        return bool(todo[:-1]) or (self.index == 0 and todo[-1] not in self.marked)

    def _send(self, step: int) -> None:
        directory = steps.pin(self.folder, step, self._pins() / str(step))
        if directory is None:
            return
        started = time.monotonic()
        files = steps.sent_files(directory, step)
        share = dict(list(files.items())[self.index :: self.count])
        there = self.store.sizes(f"{steps.CHECKPOINTS}/{step}")
        if steps.marker(step) in there and self.index:
            self.marked.add(step)
        else:
            self.store.upload(steps.missing(share, there))
        self._shares.add(step)
        if self.index == 0 and self._all_there(step, files):
            self._mark(step, directory, time.monotonic() - started)
        shutil.rmtree(directory, ignore_errors=True)

    def _all_there(self, step: int, files: dict[str, Path]) -> bool:
        """Whether every process has sent its share; the listing says so. Sends what another leaves out for too long."""
        if not (absent := steps.missing(files, self.store.sizes(f"{steps.CHECKPOINTS}/{step}"))):
            return True
        if self._waiting is None or self._waiting[0] != step:
            self._waiting = (step, time.monotonic())
        if time.monotonic() - self._waiting[1] > PEER_SECONDS:
            self.store.upload(absent)
        return False

    def _mark(self, step: int, directory: Path, seconds: float) -> None:
        """Promise a step: metrics first, so that they reach as far, and only while the lease is ours."""
        self._send_logs()
        if self._lost(ask=True):
            return
        text = (directory / manifest.NAME).read_bytes()
        if not self.store.create(steps.marker(step), text) and self.store.read(steps.marker(step)) != text:
            raise StoreAway(f"{self.store.address}/{steps.marker(step)} was written by something else")
        self.marked.add(step)
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        logger.info(
            "the checkpoint of step %d is in %s (%.1f MB in %.1f s)", step, self.store.address, size / 1e6, seconds,
            extra={"shown": False},
        )  # fmt: skip

    def _remove_old(self) -> None:
        """Remove from the store what training removed, now that what is newer is marked."""
        here = {int(path.name) for path in (self.folder / steps.CHECKPOINTS).glob("*") if path.name.isdecimal()}
        for step in sorted(self.marked - here):
            if any(newer in here for newer in self.marked if newer > step):
                steps.remove(self.store, step)
                self.marked.discard(step)

    def _pins(self) -> Path:
        return self.folder / f".sending.{self.index}"

    def _lost(self, ask: bool = False) -> bool:
        """Whether another run took the store over; `ask` the store, which takes a request."""
        return self.lease is not None and (self.lease.check() if ask else self.lease.lost)

    # --- everything else

    def _send_logs(self) -> None:
        if self._lost(ask=True):
            return
        started = time.monotonic()
        changed = {name: stamp for name, stamp in stamps(self.folder).items() if self._sent.get(name) != stamp}
        self.store.write(_contents(self.folder, [name for name, (size, _) in changed.items() if size <= WHOLE]))
        self.store.upload({name: self.folder / name for name, (size, _) in changed.items() if size > WHOLE})
        self._sent |= changed
        ended = time.monotonic()
        self._next_logs = ended + max(self.every, (ended - started) / SHARE_OF_TIME)

    # --- a store that is away

    def _away(self, error: Exception) -> None:
        if not self._problem:
            self._away_since = time.monotonic()
            logger.warning(
                "%s cannot be written (%s); training goes on, what it writes waits in %s, and it is tried again",
                self.store.address, error, self.folder,
            )  # fmt: skip
        self._problem = str(error)

    def _answered(self) -> None:
        if self._problem:
            logger.warning(
                "%s is written again, after %.0f s; nothing was lost",
                self.store.address,
                time.monotonic() - self._away_since,
            )
        self._problem = ""


def stamps(folder: Path) -> dict[str, Stamp]:
    """Name -> size and time of every file of a run directory that is mirrored as it is."""
    found = {}
    for root, folders, files in os.walk(folder):
        here = Path(root)
        if here == folder:
            folders[:] = [name for name in folders if name not in LOCAL]
            files = [name for name in files if name not in LOCAL]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (here / name for name in files if not name.startswith(".")):
            try:
                about = path.lstat()
            except FileNotFoundError:
                continue
            if path.is_file() and not path.is_symlink():
                found[path.relative_to(folder).as_posix()] = (about.st_size, about.st_mtime_ns)
    return found


def _contents(folder: Path, names: list[str]) -> dict[str, bytes]:
    """Files that may grow, as they are at one moment; those that are gone are left out."""
    found = {}
    for name in names:
        with suppress(FileNotFoundError):
            found[name] = (folder / name).read_bytes()
    return found
