"""A power cut costs what came after the newest checkpoint, and nothing else.

`power.Disk` drops what was not synced, in any process and without rights. Where this machine may mount a file system, ext4
itself is stopped without writing out its journal, which is what its own tests call a crash.
"""

import fcntl
import itertools
import os
import signal
import struct
import subprocess
import threading
from contextlib import contextmanager

import jax.numpy as jnp
import power
import pytest
from fault_runs import Run, digest, losses, trained

from ssl_jax.checkpoint.files import StepDirectories
from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.rundir.log import MetricsLog, read_metrics

DEFAULTS = "--config.log.tensorboard=True"


def test_at_any_moment_a_cut_leaves_the_newest_promised_step_whole(tmp_path):
    """With every change that is not synced lost, and with every removal kept besides."""
    (tmp_path / "disk").mkdir()
    disk, promised, count, busy = power.Disk(tmp_path / "disk"), [0], itertools.count(), threading.Lock()

    def check(change: str) -> None:
        if change == "fsync" and promised[0] > 1:  # the first two saves are looked at everywhere
            return
        with busy:
            for removals in (False, True):
                left = tmp_path / f"cut-{next(count)}"
                disk.after_a_cut(left, removals)
                steps = StepDirectories(left / "run" / "checkpoints", read_only=True)
                assert max(steps.steps(), default=0) >= promised[0]
                for step in steps.steps():
                    steps.check(step)

    with power.watched(disk, check):
        checkpoints = Checkpoints(tmp_path / "disk" / "run" / "checkpoints", keep=1)
        with MetricsLog(tmp_path / "disk" / "run", 4, tensorboard=False) as log:
            for step in (1, 2, 3):
                log.write(step, loss=float(step))
                log.sync()
                checkpoints.save(step, {"w": jnp.arange(6.0) + step}, {"cursor": step})
                checkpoints.finish()
                promised[0] = step
                check("promise")
                left = tmp_path / f"cut-{next(count) - 1}" / "run"
                assert [record["step"] for record in read_metrics(left)] == list(range(1, step + 1))
        checkpoints.close()
    assert next(count) > 100


@pytest.mark.parametrize(
    "step", [8, pytest.param(16, marks=pytest.mark.slow), pytest.param(24, marks=pytest.mark.slow)]
)
def test_a_run_resumes_from_what_a_cut_left(tmp_path, straight, step):
    for folder in ("disk", "cuts"):
        (tmp_path / folder).mkdir()
    folders = ", ".join(f"pathlib.Path({str(tmp_path / name)!r})" for name in ("disk", "cuts"))
    watching = f"import pathlib, power; power.cut_at_each_promise({folders})"
    trained(tmp_path / "disk" / "run", DEFAULTS, prepare=watching)
    workdir = tmp_path / "cuts" / str(step) / "run"
    assert max(losses(workdir)) >= step  # the promise is made beside training, which may be further by then
    assert f"resumed at step {step}" in trained(workdir, DEFAULTS).said()
    assert losses(workdir) == losses(straight)
    assert digest(workdir, 24) == digest(straight, 24)


CUT = """
import fcntl, os, signal, struct
from ssl_jax.checkpoint.files import StepDirectories
publish = StepDirectories.publish
def published(self, step, *options):
    publish(self, step, *options)
    if step == {step}:
        fcntl.ioctl(os.open({mount!r}, os.O_RDONLY), {shutdown}, struct.pack("I", 2))  # 2: the journal stays as it is
        os.kill(os.getpid(), signal.SIGKILL)
StepDirectories.publish = published
"""
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN


@contextmanager
def mounted(image, folder, options):
    done = subprocess.run(["mount", "-o", f"loop,{options}", image, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine may not mount a file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
@pytest.mark.parametrize("options", ["defaults", "commit=3000,data=writeback,noauto_da_alloc"])
def test_on_ext4_the_newest_promised_step_survives_a_cut(tmp_path, straight, options):
    image, workdir = tmp_path / "image", tmp_path / "run"
    workdir.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    if subprocess.run(["mkfs.ext4", "-q", image], capture_output=True).returncode:
        pytest.skip("this machine has no mkfs.ext4")
    for step in (8, 16, 24):
        with mounted(image, workdir, options):
            prepare = CUT.format(step=step, mount=str(workdir), shutdown=SHUTDOWN)
            with Run(workdir, DEFAULTS, prepare=prepare, name=f"cut{step}") as run:
                assert run.wait() == -signal.SIGKILL, run.said()
        with mounted(image, workdir, options):
            newest = StepDirectories(workdir / "checkpoints", read_only=True)
            assert newest.newest_sound() == (step, False)
            assert max(losses(workdir)) >= step
    with mounted(image, workdir, options):
        trained(workdir, DEFAULTS)
        assert losses(workdir) == losses(straight)
        assert digest(workdir, 24) == digest(straight, 24)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_ext4_stopped_so_loses_what_was_not_synced(tmp_path):
    """Otherwise the test above would show nothing."""
    image, folder = tmp_path / "image", tmp_path / "mount"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
    with mounted(image, folder, "commit=3000,data=writeback,noauto_da_alloc"):
        for name, sync in (("before", False), ("synced", True), ("after", False)):
            with (folder / name).open("wb") as file:
                file.write(b"x" * 5000)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
        file = os.open(folder, os.O_RDONLY)
        fcntl.ioctl(file, SHUTDOWN, struct.pack("I", 2))
        os.close(file)
    with mounted(image, folder, "defaults"):
        assert (folder / "synced").read_bytes() == b"x" * 5000
        assert (folder / "before").stat().st_size == 0  # its name is there, its bytes are not
        assert not (folder / "after").exists()
