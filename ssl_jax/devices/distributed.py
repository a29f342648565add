"""Several processes as one run: finding each other, agreeing, and one run directory for all.

`jax.distributed` does the distributing; this file decides whether and with what. Nothing here is needed for one process.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ssl_jax.errors import UserError
from ssl_jax.rundir.log import logger, messages
from ssl_jax.rundir.workdir import Workdir, open_workdir

LOCAL = "127.0.0.1:47473"  # where processes of one machine meet unless told otherwise
CONNECT_SECONDS, HEARTBEAT_SECONDS = 300, 100


@dataclass(frozen=True)
class Launch:
    """How this process joins the others. `method` is jax's name of a cluster that it reads the rest from, or None."""

    found: str
    method: str | None = None
    coordinator: str | None = None
    processes: int | None = None
    index: int | None = None


def detect(
    env: Mapping[str, str], coordinator: str | None = None, processes: int | None = None, index: int | None = None,
    tpu_vm: bool = False,
) -> Launch | None:  # fmt: skip
    """What joins this process to others, from flags or else the environment; None: it is alone.

    In this order: flags; JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID (or the JOB_COMPLETION_INDEX of
    a Kubernetes job); SLURM (inside `srun` with more than one task); Open MPI (`mpirun` with more than one); a GKE JobSet
    on TPU (TPU_WORKER_HOSTNAMES with more than one name, or more than one slice); a Cloud TPU VM (`tpu_vm`).
    """
    if (coordinator, processes, index) != (None, None, None):
        return _by_flags(coordinator, processes, index)
    number = lambda key: int(env[key]) if env.get(key, "").isdecimal() else 0  # noqa: E731
    if "JAX_COORDINATOR_ADDRESS" in env and number("JAX_NUM_PROCESSES") > 1:
        number_of_this = env.get("JAX_PROCESS_ID", env.get("JOB_COMPLETION_INDEX", ""))
        if not number_of_this.isdecimal():
            raise UserError(
                "JAX_COORDINATOR_ADDRESS and JAX_NUM_PROCESSES are set, but neither JAX_PROCESS_ID nor "
                "JOB_COMPLETION_INDEX says which process this is; set one, or unset the others"
            )
        address = env["JAX_COORDINATOR_ADDRESS"]
        return Launch("environment", None, address, number("JAX_NUM_PROCESSES"), int(number_of_this))
    if "SLURM_PROCID" in env and "SLURM_STEP_NODELIST" in env and number("SLURM_NTASKS") > 1:
        return Launch("SLURM", "slurm")
    if number("OMPI_COMM_WORLD_SIZE") > 1:
        return Launch("Open MPI", "ompi")
    if len(env.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1 or number("MEGASCALE_NUM_SLICES") > 1:
        return Launch("GKE TPU", "gketpu")
    if tpu_vm:
        return Launch("TPU VM", "gcetpu")
    return None


def _by_flags(coordinator: str | None, processes: int | None, index: int | None) -> Launch:
    if processes is None or index is None:
        raise UserError(
            f"--coordinator {coordinator} --processes {processes} --process-id {index}: give --processes N and "
            f"--process-id I (0 to N-1); --coordinator HOST:PORT is that of process 0, {LOCAL} if left out"
        )
    if processes < 1 or not 0 <= index < processes:
        raise UserError(f"--process-id {index} of --processes {processes}: number the processes from 0 to N-1")
    coordinator = coordinator or LOCAL
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator {coordinator}: write HOST:PORT of process 0, e.g. {LOCAL}")
    return Launch("flags", None, coordinator, processes, index)


def start(
    coordinator: str | None = None, processes: int | None = None, index: int | None = None,
) -> None:  # fmt: skip
    """Join the other processes, if there are any. Call it before jax touches a device.

    SSL_JAX_CONNECT_SECONDS (300) bounds the wait for the others, SSL_JAX_HEARTBEAT_SECONDS (100) how long one may be silent.
    """
    launch = detect(os.environ, coordinator, processes, index, on_tpu_vm())
    if launch is None:
        return
    connect = _seconds("SSL_JAX_CONNECT_SECONDS", CONNECT_SECONDS)
    heartbeat = _seconds("SSL_JAX_HEARTBEAT_SECONDS", HEARTBEAT_SECONDS)
    bind = None
    if launch.coordinator:
        bind = _bind_address(launch.coordinator)
        if launch.index == 0:
            _check_free(launch.coordinator, bind)
        else:
            _wait_for(launch.coordinator, connect)
    try:
        jax.distributed.initialize(
            launch.coordinator,
            launch.processes,
            launch.index,
            cluster_detection_method=launch.method,
            local_device_ids=None,
            initialization_timeout=connect,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=heartbeat,
            coordinator_bind_address=bind,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {launch.index} could not join the others ({launch.found}, coordinator {launch.coordinator}) within "
            f"{connect} s: {str(error).splitlines()[0]}\nIs process 0 running, and is its address reachable from here?"
        ) from error


def on_tpu_vm() -> bool:
    """Whether this machine looks like a Cloud TPU VM: a TPU device, and the library that drives it."""
    devices = Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists()
    return devices and importlib.util.find_spec("libtpu") is not None


def _seconds(key: str, default: int) -> int:
    return int(os.environ.get(key, default))


def _bind_address(coordinator: str) -> str | None:
    """The coordinator of a run on one machine listens there only; that of others must be reachable."""
    host, _, port = coordinator.rpartition(":")
    return f"127.0.0.1:{port}" if host == "localhost" or host.startswith("127.") else None


def _wait_for(coordinator: str, seconds: float) -> None:
    """Until something listens there: jax ends the process from C++, with a stack and no message of ours, if nothing does."""
    host, port = coordinator.rpartition(":")[::2]
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(
                    f"nothing answers at --coordinator {coordinator} after {seconds} s ({error}). Is process 0 running, and "
                    "is its address reachable from this machine? SSL_JAX_CONNECT_SECONDS waits longer"
                ) from error
            time.sleep(0.2)


def _check_free(coordinator: str, bind: str | None) -> None:
    host, port = (bind or coordinator).rpartition(":")[::2]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host if bind else "", int(port)))
        except OSError as error:
            raise UserError(
                f"--coordinator {coordinator}: port {port} cannot be used on this machine ({error.strerror}); "
                "is another run active here? Use another port"
            ) from error


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


def client() -> Any:
    """The key-value store that all processes share, or None. jax has no public name for it."""
    try:
        from jax._src.distributed import global_state

        return global_state.client
    except (ImportError, AttributeError):
        return None


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
    elif is_first():
        told = False
        try:
            with open_workdir(path, config, allow_change) as workdir:
                told = bool(agreed(1 + workdir.resumed))
                yield workdir
        finally:
            if not told:
                agreed(0)
    else:
        verdict = agreed(0)
        if not verdict:
            raise UserError("process 0 could not open the run directory; its message says why")
        with messages(Path(path), name=f"train.{jax.process_index()}.log"):
            yield Workdir(Path(path), config, verdict == 2)
