"""Which process this is, of how many, where they meet and which devices are its own: from flags, or from what a launcher set.

Pure functions of the environment. `jax.distributed` reads SLURM and Open MPI too, but gives every task one device and counts
the tasks of the job rather than of the step, so these two are read here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ssl_jax.errors import UserError

Env = Mapping[str, str]

LOCAL = "127.0.0.1:47473"  # where processes of one machine meet unless told otherwise
PORTS = range(61440, 65536)  # of which a job takes the one that its number points to
VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"


@dataclass(frozen=True)
class Launch:
    """How this process joins the others. `method` is the name of a cluster that the rest is read from, or None."""

    found: str
    method: str | None = None
    coordinator: str | None = None
    processes: int | None = None
    index: int | None = None


@dataclass(frozen=True)
class Node:
    """This machine in a job: how many `tasks` run here, the `rank` of this one, and how many devices the job was allotted."""

    tasks: int
    rank: int
    allotted: int | None = None


def detect(
    env: Env, coordinator: str | None = None, processes: int | None = None, index: int | None = None,
    tpu_vm: bool = False,
) -> Launch | None:  # fmt: skip
    """What joins this process to others, from flags or else the environment; None: it is alone.

    In this order: flags; JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID (or the JOB_COMPLETION_INDEX of
    a Kubernetes job); SLURM (inside `srun` with more than one task); Open MPI (`mpirun` with more than one); a GKE JobSet
    on TPU (TPU_WORKER_HOSTNAMES with more than one name, or more than one slice); a Cloud TPU VM (`tpu_vm`).
    """
    if (coordinator, processes, index) != (None, None, None):
        return _by_flags(coordinator, processes, index)
    if ADDRESS in env and COUNT in env:
        return _by_variables(env)
    if "SLURM_PROCID" in env and "SLURM_STEP_NODELIST" in env and _step_tasks(env) > 1:
        return Launch("SLURM", "slurm")
    if number(env, "OMPI_COMM_WORLD_SIZE") > 1:
        return Launch("Open MPI", "ompi")
    if len(env.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1 or number(env, "MEGASCALE_NUM_SLICES") > 1:
        return Launch("GKE TPU", "gketpu")
    if tpu_vm:
        return Launch("TPU VM", "gcetpu")
    _refuse_half_a_description(env)
    return None


def placed(launch: Launch, env: Env) -> Launch:
    """`launch` with the address, count and number that SLURM or Open MPI set. Others are returned as they are."""
    read = {"slurm": _by_slurm, "ompi": _by_open_mpi}.get(launch.method or "")
    if read is None:
        return launch
    coordinator, processes, index = read(env)
    check(launch.found, coordinator, processes, index)
    return replace(launch, coordinator=coordinator, processes=processes, index=index)


def check(source: str, coordinator: str, processes: int, index: int) -> None:
    """UserError that names `source`, unless numbers go from 0 to N-1 and the address is HOST:PORT."""
    if processes < 1 or not 0 <= index < processes:
        raise UserError(f"{source} says process {index} of {processes}: number the processes from 0 to N-1")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"{source} says coordinator {coordinator}: write HOST:PORT of process 0, e.g. {LOCAL}")


def number(env: Env, key: str) -> int:
    """The whole number in a variable; 0 if it is not set. UserError if it is set to something else."""
    text = env.get(key, "").strip()
    if text and not text.isdecimal():
        raise UserError(f"{key}={text} is no whole number; set it to one, or unset it")
    return int(text or 0)


# --- one launcher each


def _by_flags(coordinator: str | None, processes: int | None, index: int | None) -> Launch:
    if processes is None or index is None:
        raise UserError(
            f"--coordinator {coordinator} --processes {processes} --process-id {index}: give --processes N and "
            f"--process-id I (0 to N-1); --coordinator HOST:PORT is that of process 0, {LOCAL} if left out"
        )
    if processes < 1 or not 0 <= index < processes:
        raise UserError(f"--process-id {index} of --processes {processes}: number the processes from 0 to N-1")
    coordinator = coordinator or LOCAL
    check("--coordinator", coordinator, processes, index)
    return Launch("flags", None, coordinator, processes, index)


def _by_variables(env: Env) -> Launch | None:
    if number(env, COUNT) <= 1:
        return None
    key = next((key for key in (INDEX, "JOB_COMPLETION_INDEX") if key in env), None)
    if key is None:
        raise UserError(
            f"{ADDRESS} and {COUNT} are set, but neither {INDEX} nor JOB_COMPLETION_INDEX says which process this is; "
            "set one, or unset the others"
        )
    check(f"{ADDRESS}, {COUNT}, {key}", env[ADDRESS], number(env, COUNT), number(env, key))
    return Launch("environment", None, env[ADDRESS], number(env, COUNT), number(env, key))


def _refuse_half_a_description(env: Env) -> None:
    """With one of address and count every process would believe that it is alone."""
    given, absent = (ADDRESS, COUNT) if ADDRESS in env else (COUNT, ADDRESS)
    if ADDRESS in env or number(env, COUNT) > 1:
        raise UserError(f"{given}={env[given]} is set, but {absent} is not; set it too, or unset {given}")


def _by_slurm(env: Env) -> tuple[str, int, int]:
    job = number(env, "SLURM_JOB_ID") + number(env, "SLURM_STEP_ID")
    alone = number(env, "SLURM_STEP_NUM_NODES") == 1
    host = "127.0.0.1" if alone else first_host(env["SLURM_STEP_NODELIST"])
    return env.get(ADDRESS) or f"{host}:{_port(env, job)}", _step_tasks(env), number(env, "SLURM_PROCID")


def _by_open_mpi(env: Env) -> tuple[str, int, int]:
    size, rank = number(env, "OMPI_COMM_WORLD_SIZE"), number(env, "OMPI_COMM_WORLD_RANK")
    alone = number(env, "OMPI_COMM_WORLD_LOCAL_SIZE") == size
    launcher = re.match(r"(\d+)\.\d+;tcp6?://\[?([^,\]]+?)(?=[,\]]|:\d+$)", env.get("OMPI_MCA_orte_hnp_uri", ""))
    host = "127.0.0.1" if alone else launcher.group(2) if launcher else None
    if ADDRESS not in env and host is None:
        raise UserError(
            "Open MPI says that there are processes on several machines, but not where the first one is; "
            f"add -x {ADDRESS}=HOST:PORT (of the machine of rank 0) to mpirun"
        )
    job = int(launcher.group(1)) // 4096 if launcher else number(env, "OMPI_APP_CTX_NUM_PROCS")
    host = f"[{host}]" if ":" in (host or "") else host
    return env.get(ADDRESS) or f"{host}:{_port(env, job)}", size, rank


def _port(env: Env, job: int) -> int:
    return number(env, "JAX_COORDINATOR_PORT") or PORTS[job % len(PORTS)]


def _step_tasks(env: Env) -> int:
    # SLURM_NTASKS is that of the job, also inside a step that has fewer, as the shell of `salloc` is.
    return number(env, "SLURM_STEP_NUM_TASKS") or number(env, "SLURM_NTASKS")


def first_host(nodes: str) -> str:
    """The first machine of a SLURM list: `n[001-003,7],m1` is n001."""
    first = re.split(r",(?![^\[]*\])", nodes, maxsplit=1)[0]  # at a comma outside brackets
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)


# --- devices


def node_of(env: Env) -> Node | None:
    """This machine as SLURM or Open MPI describe it, whatever tells the processes of each other; None if neither does."""
    if "SLURM_LOCALID" in env and (tasks := _tasks_here(env)):
        listed = next((env[key] for key in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS") if env.get(key)), "")
        allotted = number(env, "SLURM_GPUS_ON_NODE") or len([x for x in listed.split(",") if x])
        return Node(tasks, number(env, "SLURM_LOCALID"), allotted or None)
    if tasks := number(env, "OMPI_COMM_WORLD_LOCAL_SIZE"):
        return Node(tasks, number(env, "OMPI_COMM_WORLD_LOCAL_RANK"))
    return None


def _tasks_here(env: Env) -> int:
    """The tasks of this step on this machine, from a list such as `2(x3),1`; 0 if SLURM does not say."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", env.get("SLURM_STEP_TASKS_PER_NODE", ""))
    counts = [int(tasks) for tasks, times in found for _ in range(int(times or 1))]
    here = number(env, "SLURM_NODEID")
    return counts[here] if here < len(counts) else 0


def visible(env: Env, root: Path = Path("/")) -> int:
    """How many GPUs this process may use: those that a variable names, or else all that the machine has."""
    told = next((env[key] for key in VISIBLE if key in env), None)
    if told is not None:
        return len([x for x in told.split(",") if x.strip() and not x.strip().startswith("-")])
    return len(list(root.glob("dev/nvidia[0-9]*")))


def own_devices(node: Node | None, seen: int, env: Env) -> tuple[int, ...] | None:
    """Which of the `seen` devices this task takes; None: all of them.

    One task on a machine takes all, one task a device its own, fewer tasks than devices an equal share each. A task that sees
    fewer devices than the machine has for the job was given its own by the launcher.
    """
    if node is None or node.tasks == 1 or seen < 2 or "JAX_LOCAL_DEVICE_IDS" in env or _bound(node, seen, env):
        return None
    share, left = divmod(seen, node.tasks)
    if left or not share:
        raise UserError(
            f"{node.tasks} tasks on this machine cannot share its {seen} devices evenly; start one task for each machine, or "
            "one for each device, or say in JAX_LOCAL_DEVICE_IDS which devices a task takes"
        )
    return tuple(range(node.rank * share, (node.rank + 1) * share))


def _bound(node: Node, seen: int, env: Env) -> bool:
    told = any(key in env for key in VISIBLE)
    return told and ("SLURM_GPUS_PER_TASK" in env or seen < (node.allotted or node.tasks))
