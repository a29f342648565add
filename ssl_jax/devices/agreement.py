"""What the processes of one run must have in common, compared before it can do harm: versions, devices, recipe, data.

    with comparing("data") as facts:
        facts["records"] = len(source)                 # a UserError in here is told to the others too

Facts travel as JSON through the key-value store that all share, which needs no device: devices that differ would hang in
the first collective. The first process compares, and all of them end with the same words.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

import ssl_jax
from ssl_jax.devices.allocator import on_cpu
from ssl_jax.devices.compiler import accelerators
from ssl_jax.devices.peers import Peers, peers
from ssl_jax.errors import UserError
from ssl_jax.rundir.log import logger

KEY, PLACE = "ssl_jax/agree/", "ssl_jax/place/"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable")
POLL_SECONDS, TELL_SECONDS, SHARED_SECONDS = 10, 60, 70
MOST = 8  # lines of a message
SHORT = 120  # characters of a value in a message

_ROUNDS = itertools.count()  # all processes compare the same things in the same order


class Report(NamedTuple):
    """What one process says of itself: where it is, its facts, or why it cannot go on; `allotted` devices of its machine."""

    host: str
    facts: Mapping[str, str]
    failed: str = ""
    allotted: int | None = None


@contextmanager
def comparing(topic: str, allotted: int | None = None) -> Iterator[dict[str, Any]]:
    """Compare what the block puts into the dict with what the other processes put there; UserError in all if it differs.

    An exception in the block ends the others too, with its first line. Alone, nothing happens.
    """
    facts: dict[str, Any] = {}
    here = peers()
    report = lambda failed="": Report(socket.gethostname(), {k: str(v) for k, v in facts.items()}, failed, allotted)  # noqa: E731
    try:
        yield facts
    except Exception as error:
        if here is not None:
            _verdict(here, topic, report(_first_line(error)))
            leave()
        raise
    if here is not None and (verdict := _verdict(here, topic, report())):
        leave()
        raise UserError(verdict)


def difference(topic: str, reports: Sequence[Report]) -> str:
    """What is not the same in all, a line for each process and fact; "" if nothing. What most have is taken for right."""
    if failed := [(i, r) for i, r in enumerate(reports) if r.failed]:
        return _listed(f"not all processes could start ({topic}):", [f"{_who(i, r)}: {r.failed}" for i, r in failed])
    keys = dict.fromkeys(key for report in reports for key in report.facts)
    lines = [line for key in keys for line in _odd_ones(key, reports)]
    remedy = "Start all of them with the same command, packages, code and data"
    return _listed("the processes of this run differ:", lines, remedy) if lines else ""


def idle(reports: Sequence[Report]) -> str:
    """The machines on which the job was allotted more devices than its processes take; "" if there are none."""
    used, allotted = Counter[str](), dict[str, int]()
    for report in reports:
        used[report.host] += int(report.facts.get("devices", "0").partition(" ")[0])
        allotted |= {report.host: report.allotted} if report.allotted else {}
    lines = [f"{h}: {n} devices, and its processes take {used[h]}" for h, n in allotted.items() if used[h] < n]
    remedy = (
        "Start one task for each machine (--ntasks-per-node=1, without --gpus-per-task), or one for each device; or say in "
        "JAX_LOCAL_DEVICE_IDS which devices a task takes"
    )
    return _listed("devices that the job was given would be used by nobody:", lines, remedy) if lines else ""


def _odd_ones(key: str, reports: Sequence[Report]) -> list[str]:
    values = [report.facts.get(key, "(not set)") for report in reports]
    usual, _ = Counter(values).most_common(1)[0]  # the first of those that are equally frequent
    like = values.index(usual)
    short = lambda text: text if len(text) <= SHORT else f"{text[:SHORT]}..."  # noqa: E731
    return [
        f"{_who(i, reports[i])}: {key} is {short(value)}; process {like} has {short(usual)}"
        for i, value in enumerate(values)
        if value != usual
    ]


def _listed(head: str, lines: Sequence[str], remedy: str = "") -> str:
    more = [f"and {len(lines) - MOST} more"] if len(lines) > MOST else []
    return "\n".join([head, *(f"  {line}" for line in [*lines[:MOST], *more]), *([remedy] if remedy else [])])


def _who(index: int, report: Report) -> str:
    return f"process {index} on {report.host}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


# --- the exchange


def _verdict(here: Peers, topic: str, mine: Report) -> str:
    """Everyone's report to the first process, and its verdict to everyone."""
    key = f"{KEY}{next(_ROUNDS)}/"
    here.store.key_value_set(f"{key}{here.index}", json.dumps(mine))
    if here.index == 0:
        reports = [Report(*json.loads(_awaited(here.store, f"{key}{i}", f"process {i}"))) for i in range(here.count)]
        here.store.key_value_set(f"{key}verdict", json.dumps(difference(topic, reports) or idle(reports)))
    return json.loads(_awaited(here.store, f"{key}verdict", "process 0"))


def leave() -> None:
    """Part from the others together: who is still connected when process 0 ends is ended by jax, from C++."""
    with suppress(Exception):
        jax.distributed.shutdown()


def _awaited(store: Any, key: str, who: str) -> str:
    """The value of `key`, however long it takes: the coordination service ends this process when the other one is gone."""
    start = time.monotonic()
    for told in itertools.count(1):
        try:
            return store.blocking_key_value_get(key, POLL_SECONDS * 1000)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
            if told * POLL_SECONDS % TELL_SECONDS == 0:
                logger.warning("waiting for %s for %.0f s, to compare with it", who, time.monotonic() - start)
    raise AssertionError  # not reached


# --- where everyone is


def place(devices: str, own: Sequence[int] | None) -> None:
    """Let the others know where this process is and what it computes on."""
    which = f" (number {', '.join(map(str, own))})" if own else ""
    if here := peers():
        here.store.key_value_set(
            f"{PLACE}{here.index}", f"{socket.gethostname()}: {devices}{which}", allow_overwrite=True
        )


def places() -> list[str]:
    """`process 0 on n1: 8 x NVIDIA H100` for every process that told where it is; [] for a process alone."""
    here = peers()
    told = {int(k.rpartition("/")[2]): v for k, v in here.store.key_value_dir_get(PLACE)} if here else {}
    return [f"process {index} on {told[index]}" for index in sorted(told)]


def one_directory(path: Path) -> None:
    """UserError in all processes if `path` is not the same directory for all: env.json there tells this start."""
    here, file = peers(), path / "env.json"
    key = f"{KEY}{next(_ROUNDS)}"
    with comparing("--workdir"):
        if here is None:
            return
        if here.index == 0:
            here.store.key_value_set(key, f"{digest([file])} {socket.gethostname()}")
        elif not _appears(file, *_awaited(here.store, key, "process 0").split(" ", 1)):
            raise UserError(
                f"--workdir {path} is not the directory in which process 0 writes; give all the same one, on storage that "
                "all machines share"
            )


def _appears(file: Path, wanted: str, host: str) -> bool:
    """Whether `file` has the digest `wanted`, now or soon: a network file system may show an older one for a while."""
    end = time.monotonic() + (SHARED_SECONDS if host != socket.gethostname() else 1)
    while not (file.is_file() and digest([file]) == wanted):
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


# --- facts


def versions() -> dict[str, str]:
    """Of the packages that decide what is computed, of this package's own code, and what jax was told."""
    python = ".".join(platform.python_version_tuple()[:2])
    named = {name: _version(name) for name in PACKAGES}
    told = {name: str(getattr(jax.config, name, "(not set)")) for name in SETTINGS}
    code = digest(sorted(Path(ssl_jax.__file__).parent.rglob("*.py")))
    own = {"platform": expected_platform(), "python": python, "ssl_jax": ssl_jax.__version__, "code of ssl_jax": code}
    return own | named | told


def expected_platform() -> str:
    """What jax will run on, as far as can be told without asking it: the CPU, or else an accelerator."""
    return "cpu" if on_cpu() or not accelerators() else "an accelerator"


def devices() -> str:
    """`8 x NVIDIA H100`: those of this process. UserError if jax cannot open them."""
    try:
        mine = jax.local_devices()
    except RuntimeError as error:
        raise UserError(f"the devices of this process cannot be opened: {_first_line(error)}") from error
    return f"{len(mine)} x {mine[0].device_kind}"


def modules(names: Iterable[str]) -> dict[str, str]:
    """The code of those of the modules that are imported: what a user allowed is part of the recipe."""
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {f"code of {name}": digest([Path(file)]) for name, file in files.items() if file}


def digest(files: Iterable[Path]) -> str:
    """The first half of a SHA-256 of the content of `files`, in this order."""
    found = hashlib.sha256()
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest()[:32]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
