"""What SLURM, Open MPI and others set, and which process, address and devices it means."""

import pytest

from ssl_jax.devices.launch import LOCAL, Launch, Node, detect, first_host, node_of, own_devices, placed, visible
from ssl_jax.errors import UserError

SLURM = {
    "SLURM_JOB_ID": "4097", "SLURM_STEP_ID": "1", "SLURM_STEP_NODELIST": "n[07-08,11]", "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0", "SLURM_NODEID": "1", "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_TASKS_PER_NODE": "1(x3)",
}  # fmt: skip
MPI = {
    "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_MCA_orte_hnp_uri": "40960.0;tcp://10.9.0.1,10.8.0.1:34911",
}  # fmt: skip
SIX = {"OMPI_MCA_orte_hnp_uri": "8192.0;tcp6://[fe80::1,fe80::2]:7"}
HERE = {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_MCA_orte_hnp_uri": ""}
OTHER = {"JAX_COORDINATOR_ADDRESS": "h:5"}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (SLURM, Launch("SLURM", "slurm", "n07:61442", 3, 1)),
        (SLURM | {"SLURM_STEP_NUM_NODES": "1"}, Launch("SLURM", "slurm", "127.0.0.1:61442", 3, 1)),
        (SLURM | {"SLURM_NTASKS": "8"}, Launch("SLURM", "slurm", "n07:61442", 3, 1)),  # a step smaller than its job
        (SLURM | {"JAX_COORDINATOR_PORT": "9"}, Launch("SLURM", "slurm", "n07:9", 3, 1)),
        (SLURM | OTHER, Launch("SLURM", "slurm", "h:5", 3, 1)),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4"}, None),  # the shell of `salloc -n4`
        (MPI, Launch("Open MPI", "ompi", "10.9.0.1:61450", 4, 2)),
        (MPI | SIX, Launch("Open MPI", "ompi", "[fe80::1]:61442", 4, 2)),
        (MPI | HERE, Launch("Open MPI", "ompi", "127.0.0.1:61440", 4, 2)),
        (MPI | HERE | OTHER, Launch("Open MPI", "ompi", "h:5", 4, 2)),
        (MPI | OTHER | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, Launch("environment", None, "h:5", 2, 1)),
        ({"JAX_COORDINATOR_ADDRESS": "h:5", "JAX_NUM_PROCESSES": "1"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, Launch("GKE TPU", "gketpu")),
    ],
)  # fmt: skip
def test_a_launcher_says_where_the_processes_meet(env, expected):
    launch = detect(env)
    assert (launch and placed(launch, env)) == expected


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (SLURM | {"SLURM_PROCID": "3"}, "SLURM says process 3 of 3: number the processes from 0 to N-1"),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "two"}, "SLURM_STEP_NUM_TASKS=two is no whole number"),
        (MPI | {"OMPI_MCA_orte_hnp_uri": ""}, "-x JAX_COORDINATOR_ADDRESS=HOST:PORT"),
        (OTHER | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"}, "process 2 of 2"),
        (OTHER | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID=-1 is no whole number"),
        (OTHER | {"JAX_NUM_PROCESSES": "many", "JAX_PROCESS_ID": "1"}, "JAX_NUM_PROCESSES=many"),
        (OTHER, "JAX_COORDINATOR_ADDRESS=h:5 is set, but JAX_NUM_PROCESSES is not"),
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_NUM_PROCESSES=2 is set, but JAX_COORDINATOR_ADDRESS is not"),
        ({"JAX_COORDINATOR_ADDRESS": "h", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, "write HOST:PORT"),
    ],
)
def test_what_a_launcher_cannot_mean_is_refused(env, said):
    with pytest.raises(UserError, match=said):
        placed(detect(env), env)


def test_the_first_machine_of_a_list():
    lists = ["n1", "n1,m2", "n[001-003,7],m1", "r[1-2]n[03,05]-x,q", "n-[4]"]
    assert [first_host(text) for text in lists] == ["n1", "n1", "n001", "r1n03-x", "n-4"]


def test_a_machine_is_what_slurm_or_open_mpi_say():
    tasks = {"SLURM_STEP_TASKS_PER_NODE": "2(x2),1", "SLURM_GPUS_ON_NODE": "8"}
    assert node_of(SLURM | tasks) == Node(2, 0, 8)
    assert node_of(SLURM | tasks | {"SLURM_NODEID": "2"}) == Node(1, 0, 8)
    assert node_of(SLURM | {"SLURM_STEP_GPUS": "0,1"}) == Node(1, 0, 2)
    assert node_of(MPI | {"OMPI_COMM_WORLD_LOCAL_RANK": "1"}) == Node(2, 1)
    assert node_of({"SLURM_LOCALID": "0"}) is None


def test_visible_devices_are_those_of_the_variable_or_of_the_machine(tmp_path):
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    told = [{}, {"CUDA_VISIBLE_DEVICES": "3,GPU-8d"}, {"CUDA_VISIBLE_DEVICES": ""}, {"ROCR_VISIBLE_DEVICES": "-1"}]
    assert [visible(env, tmp_path) for env in told] == [2, 2, 0, 0]


CUDA, EACH = {"CUDA_VISIBLE_DEVICES": "given"}, {"SLURM_GPUS_PER_TASK": "2"}


@pytest.mark.parametrize(
    ("node", "seen", "env", "expected"),
    [
        (Node(1, 0, 8), 8, CUDA, None),  # one task a machine: all
        (Node(8, 3, 8), 8, CUDA, (3,)),  # one task a device: its own
        (Node(4, 3, 8), 8, CUDA, (6, 7)),
        (Node(8, 3, 8), 1, CUDA, None),  # the launcher gave each its own
        (Node(2, 1, 4), 2, CUDA, None),
        (Node(2, 1), 2, CUDA | EACH, None),
        (Node(2, 1), 2, {}, (1,)),  # Open MPI
        (Node(4, 1), 2, CUDA, None),  # a wrapper gave each two
        (Node(4, 1), 0, {}, None),  # no GPUs
        (None, 8, {}, None),
        (Node(8, 3), 8, {"JAX_LOCAL_DEVICE_IDS": "0"}, None),
    ],
)
def test_a_task_takes_its_devices(node, seen, env, expected):
    assert own_devices(node, seen, env) == expected


@pytest.mark.parametrize(("tasks", "seen"), [(3, 8), (8, 4)])
def test_tasks_that_cannot_share_the_devices_are_refused(tasks, seen):
    with pytest.raises(UserError, match=f"{tasks} tasks on this machine cannot share its {seen} devices"):
        own_devices(Node(tasks, 0, seen), seen, CUDA)


def test_flags_go_before_everything():
    assert detect(SLURM | MPI | OTHER, processes=2, index=0) == Launch("flags", None, LOCAL, 2, 0)
