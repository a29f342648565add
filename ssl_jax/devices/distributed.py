"""Several processes as one run: finding each other, agreeing, and one run directory for all.

`jax.distributed` does the distributing; this file decides whether and with what (`launch.py` reads the environment,
`rendezvous.py` calls the roll, `agreement.py` compares). Nothing here is needed for one process.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ssl_jax.devices import agreement
from ssl_jax.devices.allocator import on_cpu
from ssl_jax.devices.launch import LOCAL as LOCAL
from ssl_jax.devices.launch import Launch as Launch
from ssl_jax.devices.launch import Node, node_of, number, own_devices, placed, visible
from ssl_jax.devices.launch import detect as detect
from ssl_jax.devices.peers import client as client
from ssl_jax.devices.rendezvous import answer_the_roll, host_and_port, report_to
from ssl_jax.errors import UserError
from ssl_jax.recipe.values import flatten, plain
from ssl_jax.rundir.log import logger, messages
from ssl_jax.rundir.workdir import Workdir, open_workdir

CONNECT_SECONDS, HEARTBEAT_SECONDS = 300, 100


def start(
    coordinator: str | None = None, processes: int | None = None, index: int | None = None,
) -> None:  # fmt: skip
    """Join the other processes, if there are any, and compare versions and devices. Call it before jax touches a device.

    SSL_JAX_CONNECT_SECONDS (300) bounds the wait for the others, SSL_JAX_HEARTBEAT_SECONDS (100) how long one may be silent.
    """
    launch = detect(os.environ, coordinator, processes, index, on_tpu_vm())
    if launch is None:
        return
    launch, node = placed(launch, os.environ), node_of(os.environ)
    own, refused = _own_devices(node)
    connect = number(os.environ, "SSL_JAX_CONNECT_SECONDS") or CONNECT_SECONDS
    bind = _bind_address(launch.coordinator) if launch.coordinator else None
    if launch.coordinator:
        _call_the_roll(launch, launch.coordinator, bind, connect, refused)
    elif refused:
        raise UserError(refused)
    _initialize(launch, bind, own, connect)
    with agreement.comparing("versions and platform") as facts:
        facts |= agreement.versions()
    with agreement.comparing("devices", _allotted(node)) as facts:
        facts["devices"] = agreement.devices()
        agreement.place(facts["devices"], own)


def _own_devices(node: Node | None) -> tuple[tuple[int, ...] | None, str]:
    """The devices of this process (None: all that it sees), or why it can have none, which the others must hear."""
    try:
        return None if on_cpu() else own_devices(node, visible(os.environ), os.environ), ""
    except UserError as error:
        return None, str(error)


def _initialize(launch: Launch, bind: str | None, own: tuple[int, ...] | None, connect: int) -> None:
    heartbeat = number(os.environ, "SSL_JAX_HEARTBEAT_SECONDS") or HEARTBEAT_SECONDS
    try:
        jax.distributed.initialize(
            launch.coordinator,
            launch.processes,
            launch.index,
            cluster_detection_method="deactivate" if launch.coordinator else launch.method,
            local_device_ids=own,
            initialization_timeout=connect,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=heartbeat,
            coordinator_bind_address=bind,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{_joining(launch)}: {str(error).splitlines()[0]} (after up to {connect} s). "
            "Is process 0 running, and is its address reachable from here?"
        ) from error


def on_tpu_vm() -> bool:
    """Whether this machine looks like a Cloud TPU VM: a TPU device, and the library that drives it."""
    devices = Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists()
    return devices and importlib.util.find_spec("libtpu") is not None


def _bind_address(coordinator: str) -> str | None:
    """The coordinator of a run on one machine listens there only; that of others must be reachable."""
    host, _, port = coordinator.rpartition(":")
    return f"127.0.0.1:{port}" if host == "localhost" or host.startswith("127.") else None


def _call_the_roll(launch: Launch, coordinator: str, bind: str | None, connect: int, refused: str) -> None:
    """UserError in every process if they are not all there, once each, after so many seconds, or one has `refused`."""
    host, port = host_and_port(coordinator)
    who = {"process": launch.index, "processes": launch.processes, "host": socket.gethostname()}
    hello = who | {"failed": refused}
    try:
        if launch.index == 0:
            verdict = answer_the_roll((host if bind else "", port), hello, connect)
        else:
            verdict = report_to((host, port), hello, connect)
    except OSError as error:
        raise UserError(_unreachable(launch, coordinator, connect, error)) from error
    if verdict:
        raise UserError(
            f"{_joining(launch)}: {verdict}. Start every process once, all with the same count and each with a number of its "
            "own; SSL_JAX_CONNECT_SECONDS waits longer"
        )


def _unreachable(launch: Launch, coordinator: str, connect: int, error: OSError) -> str:
    at = f"--coordinator {coordinator}"
    if launch.index == 0:
        port = coordinator.rpartition(":")[2]
        what = f"port {port} cannot be used on this machine ({error.strerror}); is another run active here?"
        return f"{at}: {what} Use another port"
    return (
        f"{_joining(launch)}: nothing answers at {at} after {connect} s ({error}). Is process 0 running, and is its address "
        "reachable from this machine? SSL_JAX_CONNECT_SECONDS waits longer"
    )


def _joining(launch: Launch) -> str:
    """What was tried, in words."""
    which = "" if launch.index is None else f"process {launch.index} of {launch.processes} on {socket.gethostname()} "
    where = f", coordinator {launch.coordinator}" if launch.coordinator else ""
    return f"{which}could not join the others (told by {launch.found}{where})"


def _allotted(node: Node | None) -> int | None:
    """How many devices of this machine the job must use; None: that is not known, or the user chose."""
    chosen = "JAX_LOCAL_DEVICE_IDS" in os.environ or on_cpu()
    return None if chosen or node is None else node.allotted


# --- agreeing


def is_first() -> bool:
    """Whether this process writes what is written once: run directory, metrics, messages."""
    return jax.process_index() == 0


def agreed(value: int) -> int:
    """The first process's `value`, in all. A collective."""
    return int(value) if jax.process_count() == 1 else int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_process(flag: bool) -> bool:
    """Whether `flag` is true in any process. A collective."""
    return bool(flag) if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.int32(flag)).any())


def gathered(tree: Any) -> Any:
    """Global arrays as numpy arrays, in every process. A collective."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return jax.tree.map(lambda x: np.asarray(multihost_utils.process_allgather(x, tiled=True)), tree)


def rows_of_all(rows: np.ndarray) -> np.ndarray:
    """Every process's rows [B/P, ...] -> [B, ...], in the order of processes. A collective."""
    return rows if jax.process_count() == 1 else np.concatenate(multihost_utils.process_allgather(rows))


@contextmanager
def lost_peers_explained() -> Iterator[None]:
    """Say where to look when what this process shares with the others fails inside the block; the error goes on.

    A process whose peer ended sees a closed or a reset connection, in the words of whatever library carries the collective.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if (count := jax.process_count()) > 1:
            logger.error(
                "process %d of %d cannot go on: %s\nIf another process ended before it, the last lines of that one's log say "
                "why (train.log of process 0, train.<i>.log of process i). The same command resumes from the last checkpoint",
                *(jax.process_index(), count, str(error).splitlines()[0]),
            )
        raise


# --- one run directory


@contextmanager
def open_together(path: str | os.PathLike[str], config: Any, allow_change: Any = ()) -> Iterator[Workdir]:
    """`open_workdir` by the first process; the others follow, write only train.<process>.log, and stop if it refuses."""
    if jax.process_count() == 1:
        with open_workdir(path, config, allow_change) as workdir:
            yield workdir
        return
    with agreement.comparing("recipe") as facts:
        facts |= flatten(plain(config)) | {"--allow-config-change": sorted(allow_change)}
    if is_first():
        told = False
        try:
            with open_workdir(path, config, allow_change) as workdir:
                told = bool(agreed(1 + workdir.resumed))
                agreement.one_directory(workdir.path)
                yield workdir
        finally:
            if not told:
                agreed(0)
                agreement.leave()
    else:
        verdict = agreed(0)
        if not verdict:
            agreement.leave()
            raise UserError("process 0 could not open the run directory; its message says why")
        agreement.one_directory(Path(path))
        with messages(Path(path), name=f"train.{jax.process_index()}.log"):
            yield Workdir(Path(path), config, verdict == 2)
