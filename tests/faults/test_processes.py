"""Several processes as one run: what one is told all know, what one suffers ends all, and says who."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fault_objective import reads
from fault_runs import RECIPE, free_port, losses, pair, saved_steps, stopped_at, trained

from ssl_jax.devices.distributed import LOCAL, Launch, detect
from ssl_jax.devices.watchdog import behind
from ssl_jax.errors import UserError

# --- finding each other


SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("env", "options", "expected"),
    [
        ({}, {}, None),
        ({}, {"tpu_vm": True}, Launch("TPU VM", "gcetpu")),
        (SLURM | {"SLURM_NTASKS": "2"}, {}, Launch("SLURM", "slurm")),
        (SLURM | {"SLURM_NTASKS": "1"}, {}, None),  # one task: alone
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, {}, None),  # a shell of salloc, outside srun
        ({"OMPI_COMM_WORLD_SIZE": "4"}, {}, Launch("Open MPI", "ompi")),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, {}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "0"}, {"tpu_vm": True}, Launch("GKE TPU", "gketpu")),
        ({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, {}, Launch("GKE TPU", "gketpu")),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, {}, None),
        (
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "3", "JOB_COMPLETION_INDEX": "2"},
            {},
            Launch("environment", None, "a:1", 3, 2),
        ),
        ({}, {"processes": 2, "index": 1}, Launch("flags", None, LOCAL, 2, 1)),
        (
            SLURM | {"SLURM_NTASKS": "2"},
            {"coordinator": "h:5", "processes": 2, "index": 1},
            Launch("flags", None, "h:5", 2, 1),
        ),
    ],
)
def test_processes_are_found_by_flags_or_environment(env, options, expected):
    assert detect(env, **options) == expected


@pytest.mark.parametrize(
    ("env", "options", "said"),
    [
        ({}, {"processes": 2}, "--process-id I"),
        ({}, {"processes": 2, "index": 2}, "number the processes from 0 to N-1"),
        ({}, {"processes": 2, "index": 0, "coordinator": "host"}, "write HOST:PORT"),
        ({"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "3"}, {}, "neither JAX_PROCESS_ID"),
    ],
)
def test_what_cannot_be_a_process_is_refused(env, options, said):
    with pytest.raises(UserError, match=said):
        detect(env, **options)


def test_the_process_that_is_behind_is_named():
    progress = {"p/0": "12 step a", "p/1": "12 data b c", "p/2": "12 step d"}
    assert behind(progress) == "the others wait for process 1 on b c (step 12, phase 'data')"
    assert behind({"p/0": "3 step a", "p/1": "3 step b"}) == "all processes are equally far"
    many = {f"p/{i}": "1 data h" for i in range(10)} | {"p/10": "1 step h"}
    assert behind(many).endswith(" and 2 more")


# --- two processes on this machine


def ended(runs, seconds=90):
    """The exit codes; kills what is left after `seconds`."""
    end = time.monotonic() + seconds
    try:
        return [run.wait(max(1.0, end - time.monotonic())) for run in runs]
    finally:
        for run in runs:
            if run.process.is_alive():
                run.kill()


def listening(port):
    """The addresses, as the kernel writes them, where something listens on `port`."""
    files = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line.split() for file in files for line in file.read_text().splitlines()[1:]]
    return {f[1].split(":")[0] for f in lines if f[3] == "0A" and int(f[1].split(":")[1], 16) == port}


@pytest.mark.multiprocess
def test_two_processes_stop_together_and_resume_as_one_and_as_two(tmp_path, straight):
    workdir, log, gate = tmp_path / "run", tmp_path / "reads", tmp_path / "gate"
    options = [f"--config.data.pretrain.log={log}", f"--config.data.pretrain.hold=(22, '{gate}')"]
    options += ["--config.data.pretrain.delay=0.02"]  # what it leaves jax to carry the news
    runs = pair(workdir, *options)
    runs[0].until_step(3)
    found = listening(runs[0].port)
    assert found
    assert all(address.endswith("0100007F") for address in found)  # 127.0.0.1 (or as IPv6), and nowhere else
    assert all(f"process {i} on {socket.gethostname()}: 1 x cpu\n" in runs[0].said() for i in (0, 1))
    runs[1].signal(signal.SIGTERM)
    runs[1].until(lambda: "SIGTERM caught" in runs[1].said())
    gate.touch()
    assert ended(runs) == [0, 0], runs[0].said() + runs[1].said()
    stopped = stopped_at(runs[0])
    assert stopped_at(runs[1]) == stopped
    assert stopped in saved_steps(workdir)
    assert (workdir / "train.1.log").exists()
    other, other_log = tmp_path / "other", tmp_path / "other-reads"
    shutil.copytree(workdir, other)
    shutil.copy(log, other_log)

    trained(workdir, *options)
    options[0] = f"--config.data.pretrain.log={other_log}"
    again = pair(other, *options, "--allow-config-change", "data")
    assert ended(again) == [0, 0], again[0].said() + again[1].said()

    for path, file, starts in ((workdir, log, 3), (other, other_log, 4)):
        found, expected = losses(path), losses(straight)
        assert sorted(found) == sorted(expected)
        np.testing.assert_allclose([found[s] for s in expected], [expected[s] for s in expected], rtol=1e-5)
        seen = [record for _, record in reads(file)]
        for _ in range(starts):
            seen.remove(0)  # each start looks at record 0 for its shapes
        assert sorted(seen) == sorted(list(range(64)) * 3)


FEWER = "import fault_objective; fault_objective.Numbers.__len__ = lambda self: 48"
BROKEN = """
import fault_objective
from ssl_jax.errors import UserError
def broken(self, **options):
    raise UserError("no such folder")
fault_objective.Numbers.__init__ = broken
"""
OLDER = "from ssl_jax.devices import agreement; agreement.ssl_jax.__version__ = '0.0.1'"


@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("second", "prepare", "said"),
    [
        (
            ("--config.optimizer.lr=0.5", "--config.total_steps=9"),
            "",
            ["optimizer.lr is 0.5; process 0 has 0.01", "is 9; "],
        ),
        ((), FEWER, ["records is 48; process 0 has 64"]),
        ((), OLDER, ["ssl_jax is 0.0.1; process 0 has "]),
        ((), BROKEN, ["no such folder"]),
        pytest.param(("--cpu-devices", "2"), "", ["devices is 2 x cpu; process 0 has 1"], marks=pytest.mark.slow),
        pytest.param(("--workdir", "elsewhere"), "", ["elsewhere is not the directory"], marks=pytest.mark.slow),
    ],
)
def test_processes_that_differ_are_named_and_all_end(tmp_path, second, prepare, said):
    second = tuple(str(tmp_path / word) if word == "elsewhere" else word for word in second)
    runs = pair(tmp_path / "run", second=second, prepare_second=prepare)
    assert ended(runs, 60) == [2, 2], runs[0].said() + runs[1].said()
    assert f"process 1 on {socket.gethostname()}: " in runs[0].said()
    assert all(text in run.said() for text in said for run in runs)


@pytest.mark.multiprocess
def test_a_process_that_is_not_there_is_named(tmp_path):
    flags = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "3", "--process-id", "0"]
    run = trained(tmp_path / "run", *flags, SSL_JAX_CONNECT_SECONDS="1", code=2)
    assert "of 3 processes these have not come within 1 s: 1, 2" in run.said()
    assert f"told by flags, coordinator {flags[1]}" in run.said()


@pytest.mark.multiprocess
@pytest.mark.slow
def test_two_processes_resume_after_one_the_other_and_both_were_killed(tmp_path):
    options, straight, workdir = ("--config.log.tensorboard=True",), tmp_path / "straight", tmp_path / "run"
    assert ended(pair(straight, *options)) == [0, 0]
    for dead, step in (([1], 9), ([0], 12), ([0, 1], 18)):
        gate = f"--config.data.pretrain.hold=({4 * (step + 2 - max(saved_steps(workdir), default=0))}, '{tmp_path / 'no'}')"
        runs = pair(workdir, *options, gate, "--allow-config-change", "data")
        runs[0].until_step(step)
        for i in dead:
            runs[i].kill()
        codes = ended(runs)
        assert all(codes), codes
    assert ended(pair(workdir, *options, "--allow-config-change", "data")) == [0, 0]
    assert losses(workdir) == losses(straight)


@pytest.mark.multiprocess
def test_a_stuck_process_is_named_and_all_exit(tmp_path):
    runs = pair(tmp_path / "run", "--config.data.pretrain.stall=(1, 23)", "--config.watch.hang_seconds=5")
    codes = ended(runs)
    assert all(code != 0 for code in codes)
    said = runs[0].said() + runs[1].said()
    assert f"the others wait for process 1 on {socket.gethostname()} (step 5, phase 'data')" in said
    assert "Timeout (0:00:05)!" in said
    assert "fault_objective.py" in said  # the stack of what it waits for


def test_a_process_alone_that_hangs_exits_with_its_stack(tmp_path):
    run = trained(tmp_path / "run", "--config.data.pretrain.stall=(0, 30)", "--config.watch.hang_seconds=2", code=1)
    assert "no progress for " in run.said()
    assert "Timeout (0:00:02)!" in run.said()
    assert "fault_objective.py" in run.said()


HELD = """
import ctypes, time, types, fault_objective
def held(seconds):
    if seconds == 600:  # the stall
        ctypes.PyDLL(None).sleep(600)  # unlike CDLL, without letting other threads run
    time.sleep(seconds)
fault_objective.time = types.SimpleNamespace(sleep=held)
"""


def test_an_interpreter_that_is_held_is_ended_from_outside_with_its_stack(tmp_path):
    options = ("--config.data.pretrain.stall=(0, 120)", "--config.data.pretrain.delay=0.005")
    run = trained(tmp_path / "run", *options, "--config.watch.hang_seconds=2", prepare=HELD, code=-signal.SIGABRT)
    assert "no thread of Python could run for 2 s; ending process" in run.said()
    assert "in held" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.multiprocess
@pytest.mark.parametrize("dead", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_when_one_process_is_killed_the_other_ends(tmp_path, dead):
    runs = pair(tmp_path / "run", "--config.data.pretrain.delay=0.05")
    runs[0].until_step(2)
    runs[dead].kill()
    other = runs[1 - dead]
    assert ended([other], 60)[0] not in (0, None)
    # Whichever comes first: jax's coordination service, which ends the process, or the collective that waits for the dead.
    said = other.said().lower()
    assert any(told in said for told in ("coordination", "if another process ended before it")), said[-2000:]


@pytest.mark.multiprocess
def test_who_waits_for_a_process_that_is_killed_is_told_where_to_look(tmp_path):
    runs = pair(tmp_path / "run", "--config.data.pretrain.stall=(1, 23)")
    runs[0].until_step(5)
    runs[1].kill()
    assert ended([runs[0]], 60) == [1]
    assert "process 0 of 2 cannot go on: " in runs[0].said()
    assert "train.<i>.log of process i" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.multiprocess
def test_a_refusal_of_the_first_process_ends_all_with_a_message(tmp_path, straight):
    workdir = shutil.copytree(straight, tmp_path / "run")
    runs = pair(workdir, "--config.optimizer.lr=0.5")
    assert ended(runs) == [2, 2]
    assert "optimizer.lr: 0.01 -> 0.5" in runs[0].said()
    assert "process 0 could not open the run directory" in runs[1].said()


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process-id", "0"]
        run = trained(tmp_path / "run", *flags, code=2)
    assert f"port {port} cannot be used on this machine" in run.said()


def test_a_coordinator_that_is_not_there_is_told(tmp_path):
    flags = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process-id", "1"]
    run = trained(tmp_path / "run", *flags, SSL_JAX_CONNECT_SECONDS="1", code=2)
    assert f"nothing answers at --coordinator {flags[1]} after 1 s" in run.said()


@pytest.mark.multiprocess
@pytest.mark.slow
def test_the_launcher_for_one_machine_runs(tmp_path):
    root = Path(__file__).parents[2]
    command = [str(root / "tools" / "launch" / "local"), "2", "--config", RECIPE, "--workdir", str(tmp_path / "run")]
    env = os.environ | {
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(root), str(Path(RECIPE).parent)]),
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1"),
    }
    done = subprocess.run([*command, "--config.total_steps=4"], env=env, timeout=240, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(losses(tmp_path / "run")) == [1, 2, 3, 4]
    done = subprocess.run([*command, "--config.total_steps=5"], env=env, timeout=240, capture_output=True, text=True)
    assert done.returncode == 2
    assert "total_steps: 4 -> 5" in done.stderr
