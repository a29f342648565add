"""The run directory: one run at a time, the recipe and the machine on record, resumed only with the same recipe.

    with open_workdir("runs/x", config) as workdir:      # LOCK, config.json, env.json
        train(recipe, workdir.path)

Everything in it is readable without this package.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import ssl_jax
from ssl_jax.errors import UserError
from ssl_jax.recipe.renames import with_added_keys
from ssl_jax.recipe.values import flatten, from_json, plain, read_config, to_json
from ssl_jax.rundir.durable import make_directory
from ssl_jax.rundir.identity import Identity, covered, entries, from_env, named
from ssl_jax.rundir.log import logger, messages, read_metrics
from ssl_jax.rundir.place import Place, held
from ssl_jax.rundir.writing import alive, remove_unfinished, replace_file

SECRET = re.compile(r"token|secret|key|password|passwd|credential", re.IGNORECASE)
RECORDED = re.compile(r"^(JAX|XLA|TPU|CUDA|NCCL|OMP|TF|SSL_JAX|SLURM)_")
FIXED = ("batch_size",)  # keys that no flag can change once there is a checkpoint
FITS = "This works where every array of the checkpoint keeps its name, shape and type; else it is another run"
CONDITIONS = {  # section -> on what it hangs that a run can go on with another one
    "model": FITS,
    "objective": FITS,
    "optimizer.name": FITS,
    "optimizer.options": FITS,
    "data.pretrain": "If the records differ, add --allow-data-change as well",
}
APPENDED = re.compile(r"LOCK|metrics\.jsonl|train(\.\d+)?\.log|bad_records(\.\d+)?\.jsonl")
REPLACED = ("config.json", "env.json")
FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "ml-collections", "scikit-learn")


@dataclass(frozen=True)
class Workdir:
    """An open run directory. `resumed`: a run with this recipe was started here before. `place` is held by the first process."""

    path: Path
    config: ConfigDict
    resumed: bool
    place: Place | None = None

    def check_place(self) -> None:
        """UserError where the path names another directory by now. Ask before anything is written by path."""
        if self.place is not None:
            self.place.check()

    def record_devices(self, devices: Sequence[Any], **facts: Any) -> None:
        """Add the devices (jax.devices()) and other facts of this start (mesh, dataset fingerprint) to env.json."""
        kinds = [f"{d.platform}:{d.device_kind}" for d in devices]
        self._record({"devices": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}} | facts)

    def accept(self, owner: Identity) -> None:
        """The checkpoint was found to be this run's: whose it is goes into env.json, and the recipe into config.json."""
        self._record(owner.to_env())
        self.write_config()

    def write_config(self) -> None:
        """Make the recipe that of the run, for the next start to be compared with."""
        file, text = self.path / "config.json", to_json(self.config)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            self.check_place()
            replace_file(file, text)

    def _record(self, facts: Mapping[str, Any]) -> None:
        self.check_place()
        replace_file(self.path / "env.json", _indented({**entries(self.path / "env.json"), **facts}))


@contextmanager
def open_workdir(
    path: str | os.PathLike[str], config: ConfigDict | Mapping[str, Any], allow_change: Sequence[str] = ()
) -> Iterator[Workdir]:
    """Create or resume the run directory `path` and hold its LOCK until the end of the block.

    `allow_change` names keys (`optimizer.lr`, or a section) that may differ from config.json, which then takes them.
    Raises UserError if another run holds it, if the recipe differs, or if the disk is full or not writable.
    """
    path = _local(path)
    with _explained(path):
        try:
            make_directory(path)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"--workdir {path}: {error.filename} is a file, not a directory; use another") from error
        except OSError as error:
            if error.errno in FULL + DENIED:
                raise  # explained with what is kept
            raise UserError(f"--workdir {path} cannot be made: {error.strerror}; use another") from error
        _refuse_what_is_no_run(path)
        with held(path) as place, messages(path), _lock(place), _ending_in_log():
            remove_unfinished(path)
            _part_from_copies(path)
            resumed, steps = _same_recipe(path, config, allow_change), saved_steps(path)
            _record_environment(path / "env.json", "" if steps else named(), allow_change)
            workdir = Workdir(path, from_json(to_json(config)), resumed, place)
            if not resumed and not steps:
                workdir.write_config()  # where there is a checkpoint, once that was found to be of this recipe
            try:
                yield workdir
            except UserError:
                if not resumed and not (path / "metrics.jsonl").exists() and place.now() == path:
                    # Refused before its first step: the next recipe is the first.
                    (path / "config.json").unlink(missing_ok=True)
                raise
            workdir.write_config()


def existing(path: str | os.PathLike[str]) -> Path:
    """The run directory `path` of an earlier run, for reading. UserError if there is none."""
    path = Path(path)
    if (path / "config.json").is_file():
        return path
    what = "has no config.json, so no run was started there" if path.is_dir() else "does not exist"
    beside = sorted(p.parent.name for p in path.parent.glob("*/config.json")) if path.parent.is_dir() else []
    hint = f" Runs in {path.parent}: {', '.join(beside)}" if beside else ""
    raise UserError(f"--workdir {path} {what}; name the directory that `ssl-jax train --workdir` wrote.{hint}")


def _refuse_what_is_no_run(path: Path) -> None:
    """UserError for a link, a folder, a FIFO where a run has a file, and for checkpoints that lie nowhere."""
    for entry in _files_of_a_run(path):
        with suppress(FileNotFoundError):  # an active run replaces its files
            if _is_in_the_way(entry, found := entry.lstat()):
                raise UserError(
                    f"{entry} is {_kind(found)}, where a run has a file of its own; move it away, and start again"
                )
    checkpoints = path / "checkpoints"
    if checkpoints.is_symlink() and not checkpoints.exists():
        to = os.readlink(checkpoints)
        raise UserError(f"{checkpoints} leads to {to}, which is not there: mount it, or remove the link to begin anew")
    if checkpoints.exists() and not checkpoints.is_dir():
        raise UserError(
            f"{checkpoints} is no folder, and a run keeps its checkpoints there; move it away, and start again"
        )


def _part_from_copies(path: Path) -> None:
    """A file that another directory has too, as in a copy made of links, becomes one of this directory alone."""
    for entry in _files_of_a_run(path):
        found = entry.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            replace_file(entry, entry.read_bytes())


def _files_of_a_run(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.name in REPLACED or APPENDED.fullmatch(entry.name)]


def _is_in_the_way(entry: Path, found: os.stat_result) -> bool:
    """Whether something else than a file has the name of one. A link may have it where the file is replaced as a whole."""
    if entry.name in REPLACED:
        return not entry.is_file() and not stat.S_ISLNK(found.st_mode)
    return not stat.S_ISREG(found.st_mode) or (entry.name == "LOCK" and found.st_nlink > 1)


def _kind(found: os.stat_result) -> str:
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFREG: "one file with two names",
    }
    return kinds.get(stat.S_IFMT(found.st_mode), "a device or a socket")


def _local(path: str | os.PathLike[str]) -> Path:
    """`path`, unless it is an address such as `gs://bucket/x`, for which a folder `gs:` would be made here."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(path)):
        raise UserError(f"{path} is no local directory; `ssl_jax.remote.opening.run_directory` opens gs:// and s3://")
    return Path(path)


# --- one recipe


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """`{"optimizer.lr": ("0.001", "0.01"), ...}` for every key that differs in value or type, sorted.

    Keys that came after the run of `old` are what it did without them (`recipe/renames.py`).
    """
    before, after = (flatten(with_added_keys(plain(config))) for config in (old, new))
    show = lambda flat, key: repr(flat[key]) if key in flat else "(not set)"  # noqa: E731
    keys = sorted(before.keys() | after.keys())
    changed = {key: (show(before, key), show(after, key)) for key in keys}
    return {key: pair for key, pair in changed.items() if pair[0] != pair[1]}


def _same_recipe(path: Path, config: ConfigDict | Mapping[str, Any], allow_change: Sequence[str]) -> bool:
    """Compare with config.json. True if there is one: a run was started here before."""
    file = path / "config.json"
    if not file.exists():
        return False
    changed = differences(read_config(file), config)
    fixed = FIXED if saved_steps(path) else ()
    refused = {k: pair for k, pair in changed.items() if k in fixed or not covered(k, allow_change)}
    if refused:
        raise another_recipe(f"{path} holds a run with another recipe", refused, fixed)
    for key in sorted(changed):
        logger.warning("config changed on resume: %s: %s -> %s", key, *changed[key])
    return True


def another_recipe(what: str, changed: Mapping[str, tuple[str, str]], fixed: Sequence[str] = FIXED) -> UserError:
    """The refusal to go on with `changed` keys of a recipe. Only flags that can help are named, and on which condition."""
    lines = "\n".join(f"  {key}: {old} -> {new}" for key, (old, new) in changed.items())
    return UserError(
        f"{what}. It would change:\n{lines}\nEither start in another --workdir, or restore these values"
        + _way_on(changed, [key for key in changed if key in fixed])
    )


def _way_on(changed: Iterable[str], stuck: Sequence[str]) -> str:
    if stuck:
        return f"; {', '.join(stuck)} cannot change once there is a checkpoint: the order of examples hangs on it"
    notes = [note for section, note in CONDITIONS.items() if any(covered(key, (section,)) for key in changed)]
    flags = " ".join(f"--allow-config-change {key}" for key in changed)
    return "\n".join([f", or continue this run with them: add {flags}", *dict.fromkeys(notes)])


def saved_steps(path: Path) -> list[int]:
    """The steps whose checkpoints seem to be in a run directory, by their names alone."""
    return sorted(int(p.name) for p in (path / "checkpoints").glob("*") if p.name.isdecimal())


# --- one run at a time


@contextmanager
def _lock(place: Place) -> Iterator[None]:
    """Hold LOCK: the kernel's lock on it, which ends with the process, and a record of who holds it."""
    path = place.path / "LOCK"
    file, locked = _open_locked(path)
    try:
        owner = _owner(file)
        if owner:
            _refuse_unless_stale(path, owner, locked)
            logger.warning("took over %s of process %s, which ended without releasing it", path, owner.get("pid"))
        record = {"pid": os.getpid(), "host": socket.gethostname(), "started": _now(), "flock": locked}
        os.ftruncate(file, 0)
        os.pwrite(file, _indented(record).encode(), 0)
    except BaseException:
        os.close(file)
        raise
    try:
        yield
    finally:
        _unlink_own(file, place.folder)  # before the kernel's lock goes, so that a new holder's file is never removed
        os.close(file)


def is_active(path: Path) -> bool:
    """Whether a process seems to train in a run directory now, by the record in its LOCK."""
    try:
        file = os.open(path / "LOCK", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    owner = _owner(file)
    os.close(file)
    return owner.get("host") != socket.gethostname() or alive(int(owner.get("pid", 0)) or -1)


def _unlink_own(file: int, folder: int) -> None:
    """Remove LOCK from the directory that is held, wherever it lies now, if it is the open `file`."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(file), os.stat("LOCK", dir_fd=folder, follow_symlinks=False)):
            os.unlink("LOCK", dir_fd=folder)


def _open_locked(path: Path) -> tuple[int, bool]:
    """The LOCK file, open, and whether the file system could lock it. UserError if another process has it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(file)
            os.close(file)
            raise _in_use(path, owner, "wait for it, end it, or use another --workdir") from error
        except OSError:  # some network file systems cannot lock; then the record in the file decides
            return file, False
        try:
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                return file, True
        except FileNotFoundError:
            pass
        os.close(file)  # its holder removed it between our open and our lock


def _refuse_unless_stale(path: Path, owner: Mapping[str, Any], held: bool) -> None:
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname():
        raise _in_use(path, owner, f"if no run is active there any more, delete {path}")
    if pid == os.getpid() or (held and owner.get("flock")):
        return  # its holder would still have the kernel's lock: the number was given to another process since
    if isinstance(pid, int) and alive(pid):
        raise _in_use(path, owner, f"wait for it or end it; if that process is not a run, delete {path}")


def _in_use(path: Path, owner: Mapping[str, Any], remedy: str) -> UserError:
    who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('started', '?')}"
    return UserError(f"{path.parent} is in use by another run ({who}); {remedy}")


def _owner(file: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(file, 4096, 0) or b"{}")
    except ValueError:  # cut short by a crash
        return {}
    return owner if isinstance(owner, dict) else {}


# --- where it ran


def _record_environment(path: Path, new_name: str, allow_change: Sequence[str]) -> None:
    """Write env.json: this start at the top, earlier starts under `earlier`. A run without a name gets the new one."""
    last = dict(entries(path))
    if path.exists() and not last:
        logger.warning("%s was not readable and starts anew", path)
    owner = from_env(last)
    owner = Identity(owner.name or new_name, tuple(allow_change), owner.allowed)
    before = last.pop("earlier", [])
    past = {key: value for key, value in last.items() if key not in owner.to_env()}
    earlier = [*(before if isinstance(before, list) else []), *([past] if past else [])]
    replace_file(path, _indented(environment() | owner.to_env() | {"earlier": earlier}))


def environment() -> dict[str, Any]:
    """Versions, commit, platform, command line and the environment variables that steer JAX; secrets are blanked."""
    return {
        "started": _now(),
        "ssl_jax": ssl_jax.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "argv": redacted_arguments(sys.argv),
        "environment": {k: redacted(k, v) for k, v in sorted(os.environ.items()) if RECORDED.match(k)},
    }


def redacted(key: str, value: str) -> str:
    """`value`, or `(redacted)` where its name says that it is a secret."""
    return "(redacted)" if SECRET.search(key) else value


def redacted_arguments(argv: Sequence[str]) -> list[str]:
    """A command line with the values of `--key=value` and `--key value` blanked where the name says secret."""
    words: list[str] = []
    for word, before in zip(argv, ["", *argv], strict=False):
        name, equals, value = word.partition("=")
        if equals:
            words.append(f"{name}={redacted(name, value)}")
        else:
            words.append(redacted(before, word) if before.startswith("--") and "=" not in before else word)
    return words


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the clone that this package runs from, with `+changes` if files differ from it; else None."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        git = lambda *args: subprocess.run(  # noqa: E731
            ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


# --- when it fails


@contextmanager
def _ending_in_log() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # Only in train.log: the caller shows the error itself.
        logger.error("stopped by %s: %s", type(error).__name__, error, extra={"shown": False})
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """OSErrors that the user can fix, as UserErrors that say what is kept."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UserError(f"no space left for {path} ({error.strerror}). {_kept(path)}") from error
        here, touched = path.absolute(), Path(error.filename or "").absolute()
        denied = error.errno in DENIED and error.filename is not None
        if denied and (touched.is_relative_to(here) or here.is_relative_to(touched)):
            raise UserError(f"--workdir {path} cannot be written: {error.strerror} ({touched}); use another") from error
        raise


def _kept(path: Path) -> str:
    steps = saved_steps(path)
    metrics = read_metrics(path)
    saved = f"checkpoints up to step {max(steps)}" if steps else "no checkpoint yet"
    logged = f", metrics up to step {metrics[-1]['step']}" if metrics else ""
    return f"What was written is kept: {saved}{logged}. Free some space and start again with the same command to resume"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
