"""A run directory in a store, for the commands: a local folder that stands for it, and is mirrored, or read from it.

    with run_directory("s3://bucket/runs/x") as folder:      # train: held, fetched, mirrored, given back
    with reading("s3://bucket/runs/x") as folder:            # eval, report: fetched, and what they write sent back

A local path is yielded as it is. Nothing else in the house knows that there are stores.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax

from ssl_jax.devices.distributed import agreed, any_process, is_first
from ssl_jax.errors import UserError
from ssl_jax.remote import steps
from ssl_jax.remote.lease import Lease, acquire
from ssl_jax.remote.mirror import EVERY_SECONDS, Mirror, stamps
from ssl_jax.remote.store import Store, StoreAway, is_remote, store_at
from ssl_jax.rundir.log import logger, messages, replace_file

PATIENCE_SECONDS = 120  # how long the end of a run waits for a store that is away
HERE = ".mirror.json"  # which lease the folder was last written under
NOT_FETCHED = ("LOCK/", "tb/", "samples/", "crash/", f"{steps.CHECKPOINTS}/")  # training and reading need none of it

NOT_SENT = "eval/features/"  # what a command can make again: large


@contextmanager
def run_directory(workdir: str) -> Iterator[str | Path]:
    """The local run directory that `workdir` is, or that stands for it while this block trains.

    Raises UserError if another run holds it, if the store does not answer at the start, or still not at the end.
    """
    if not is_remote(workdir):
        yield workdir
        return
    store, folder = store_at(workdir), staging(workdir)
    own = "train.log" if is_first() else f"train.{jax.process_index()}.log"
    with ExitStack() as stack:
        mirror = _together(store, folder, stack, own)
        mirror.start()
        try:
            yield folder
        except BaseException:
            if problem := _sent(mirror):
                logger.error("%s", problem)  # beside the reason why the block ended, which is told by who catches it
            raise
        if problem := _sent(mirror):
            raise UserError(problem)


@contextmanager
def reading(workdir: str | os.PathLike[str], step: int | None = None) -> Iterator[Path]:
    """The run directory of an earlier run, for reading, with the checkpoint of `step` (default: the newest) if there is one.

    Files that the block writes or changes go up at its end.
    """
    if not is_remote(workdir):
        yield Path(workdir)
        return
    store, folder = store_at(os.fspath(workdir)), staging(os.fspath(workdir), "reading")
    with explained(store):
        sizes = store.sizes()
        if "config.json" not in sizes:
            raise UserError(f"--workdir {workdir} has no config.json, so no run was started there; check the address")
        store.download({name: folder / name for name in sizes if not name.startswith(NOT_FETCHED)})
        _fetch_step(store, folder, sizes, step)
    before = stamps(folder)
    try:
        yield folder
    finally:
        with explained(store):
            written = [name for name, stamp in stamps(folder).items() if before.get(name) != stamp]
            changed = [name for name in written if not name.startswith(NOT_SENT)]
            store.upload({name: folder / name for name in changed})


@contextmanager
def fetched(folder: str) -> Iterator[Path]:
    """A folder of a store, such as a crash bundle, as a local one."""
    if not is_remote(folder):
        yield Path(folder)
        return
    store = store_at(folder)
    with tempfile.TemporaryDirectory(prefix="ssl_jax.") as place:
        with explained(store):
            store.download({name: Path(place) / name for name in store.sizes()})
        yield Path(place)


def staging(address: str, use: str = "runs") -> Path:
    """The folder that stands for `address` on this machine; made if it is not there. Its name ends as the address does."""
    root = Path(os.environ.get("SSL_JAX_STAGING") or _cache()).expanduser()
    digest = hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:12]
    last = re.sub(r"[^\w.-]", "_", address.rstrip("/").rpartition("/")[2])
    folder = root / use / digest / (last or "run")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UserError(
            f"{folder}, which would stand for {address} here, cannot be made ({error.strerror}); name a folder in SSL_JAX_STAGING"
        ) from error
    return folder.resolve()


@contextmanager
def explained(store: Store) -> Iterator[None]:
    """What a store answers before and after training, as UserErrors."""
    try:
        yield
    except StoreAway as error:
        raise UserError(
            f"{store.address} cannot be used ({error}); check the address, the credentials and the network, and start again"
        ) from error
    except FileNotFoundError as error:
        if error.filename is not None and Path(error.filename).is_absolute():
            raise
        raise UserError(
            f"{store.address} cannot be used: no such bucket or object ({error}); make the bucket first"
        ) from error


def _cache() -> Path:
    try:
        return Path.home() / ".cache" / "ssl_jax" / "staging"
    except RuntimeError:  # no HOME, and a user without a name
        return Path(tempfile.gettempdir()) / f"ssl_jax-{os.getuid()}" / "staging"


# --- before training


def _together(store: Store, folder: Path, stack: ExitStack, log: str) -> Mirror:
    """The mirror of this process, once the first one holds the store and has fetched what training needs."""
    mirror, token = (_leading if is_first() else _following)(store, folder, stack, log)
    _check_shared(folder, token)
    return mirror


def _leading(store: Store, folder: Path, stack: ExitStack, log: str) -> tuple[Mirror, int]:
    """Hold the store, fetch, and leave a token in the folder, whose number all processes are told; 0 where that failed."""
    told = 0
    try:
        lease = stack.enter_context(_held(store, folder))
        stack.enter_context(messages(folder, name=log))
        mirror = Mirror(store, folder, lease, 0, jax.process_count(), _seconds("SSL_JAX_MIRROR_SECONDS", EVERY_SECONDS))
        mirror.marked |= set(_prepared(store, folder))
        token = random.randrange(1, 2**31)
        replace_file(_token(folder, token), "")
        told = agreed(token)
    finally:
        if not told:
            agreed(0)  # the others wait for it
    return mirror, token


def _following(store: Store, folder: Path, stack: ExitStack, log: str) -> tuple[Mirror, int]:
    if not (token := agreed(0)):
        raise UserError("process 0 could not open the run directory; its message says why")
    stack.enter_context(messages(folder, name=log))
    return Mirror(store, folder, None, jax.process_index(), jax.process_count()), token


@contextmanager
def _held(store: Store, folder: Path) -> Iterator[Lease]:
    """The lease of the store; a folder that others have overtaken since is set aside."""
    with explained(store):
        lease, before = acquire(store)
    try:
        with explained(store):
            _same_line(store, folder, before)
            replace_file(folder / HERE, json.dumps({"address": store.address, "lease": lease.number}))
        lease.on_loss = _stop
        yield lease
    finally:
        lease.release()


def _same_line(store: Store, folder: Path, before: int) -> None:
    """What this machine keeps of the run is used only if no other has written the store since."""
    try:
        last = json.loads((folder / HERE).read_text(encoding="utf-8"))["lease"]
    except (OSError, ValueError, KeyError, TypeError):
        last = None
    if last == before or not any(folder.iterdir()):
        return
    aside = folder.with_name(f"{folder.name}.before-{time.strftime('%Y%m%dT%H%M%S')}")
    folder.rename(aside)
    folder.mkdir(mode=0o700)
    logger.warning(
        "%s went on from elsewhere since this machine wrote it; the copy from here is now %s", store.address, aside
    )


def _prepared(store: Store, folder: Path) -> list[int]:
    """Fetch what training needs, and clean up after a killed run. The steps that the store promises."""
    for pattern in (".sending.*", ".token-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
    with explained(store):
        sizes = store.sizes()
        wanted = [name for name in sizes if not name.startswith(NOT_FETCHED) and not (folder / name).exists()]
        store.download({name: folder / name for name in wanted})
        store.remove(steps.unmarked(sizes))
        newest, damaged = steps.fetch_newest(store, folder, sizes)
        steps.mend(store, folder, sizes)
        there = steps.marked(sizes)
        stamp = time.strftime("%Y%m%dT%H%M%S")
        for step in set(damaged) & set(there):
            steps.set_aside(store, folder, step, stamp)
        sound = [step for step in there if step not in damaged]
        if newest is None and damaged:
            raise UserError(
                f"every checkpoint in {store.address} is damaged; they were renamed. Bring one back from a copy, or start the "
                "same command again to train from the beginning"
            )
        steps.stand_in(store, folder, sound)
    logger.info("%s is mirrored from %s", store.address, folder)
    return sound


def _check_shared(folder: Path, token: int) -> None:
    """UserError in all processes unless each sees the folder of the first."""
    seen = _token(folder, token).exists()
    if any_process(not seen):
        raise UserError(
            f"not all processes see {folder}, where process 0 keeps what goes to the store; name a folder that they share in "
            "SSL_JAX_STAGING, the same for all"
        )
    if is_first():
        _token(folder, token).unlink(missing_ok=True)


def _token(folder: Path, number: int) -> Path:
    return folder / f".token-{number}"


def _stop() -> None:
    """Another run took over: end like after a signal, so that the local copy is complete."""
    logger.error("another run has taken over the store of this one, which was silent for too long; stopping")
    os.kill(os.getpid(), signal.SIGTERM)


# --- after training


def _sent(mirror: Mirror) -> str:
    """Send the rest; what has to be said if it could not be sent."""
    store, folder, patience = mirror.store, mirror.folder, _seconds("SSL_JAX_STORE_SECONDS", PATIENCE_SECONDS)
    if mirror.lease is not None:
        mirror.lease.on_loss = lambda: None  # training has ended already
    problem = mirror.finish(patience)
    if mirror.lease is not None and mirror.lease.lost:
        return f"another run has taken over {store.address}; what this one wrote since is in {folder}"
    if not problem:
        return ""
    return (
        f"{store.address} lacks what was written last ({problem}; it was waited for {patience:.0f} s). Everything is kept in "
        f"{folder}: the same command on this machine goes on from there and sends it"
    )


def _fetch_step(store: Store, folder: Path, sizes: dict[str, int], step: int | None) -> None:
    """The checkpoint that is asked for, and no other: the folder holds one at a time."""
    _keep_only(folder, steps.marked(sizes))
    if step is None:
        step, _ = steps.fetch_newest(store, folder, sizes)
    elif step in steps.marked(sizes):
        steps.fetch(store, folder, step, sizes)
    else:
        there = ", ".join(map(str, steps.marked(sizes))) or "none"
        raise UserError(f"{store.address} holds no checkpoint of step {step}; it has {there}")
    _keep_only(folder, [step])


def _keep_only(folder: Path, wanted: Sequence[int | None]) -> None:
    for path in (folder / steps.CHECKPOINTS).glob("*"):
        if path.name not in map(str, wanted):
            shutil.rmtree(path, ignore_errors=True)


def _seconds(key: str, default: float) -> float:
    return float(os.environ.get(key, default))
