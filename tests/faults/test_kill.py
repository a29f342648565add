"""kill -9 at any moment costs the steps since the last checkpoint, and nothing else."""

import random
import time

import pytest
from fault_runs import Run, digest, losses, saved_steps, trained

IN_THE_SAVE = """
import os, signal
from ssl_jax.checkpoint import manifest
manifest.write = lambda directory: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_and_resumed_equals_straight_to_the_last_bit(tmp_path, straight):
    workdir = tmp_path / "run"
    fifteen_batches = "--config.data.pretrain.hold=(122, 'never')"  # and the record that is read for its shapes
    with Run(workdir, fifteen_batches) as run:
        run.until(lambda: 8 in saved_steps(workdir) and max(losses(workdir)) >= 11)
    assert max(losses(workdir)) < 16
    trained(workdir, "--allow-config-change", "data")  # without the hold
    assert losses(workdir) == losses(straight)
    assert sorted(losses(workdir)) == list(range(1, 25))
    assert digest(workdir, 24) == digest(straight, 24)


def test_killed_while_saving_uses_the_step_before_and_leaves_no_debris(tmp_path, straight):
    workdir = tmp_path / "run"
    trained(workdir, prepare=IN_THE_SAVE, code=-9)
    assert (workdir / "checkpoints" / "8.saving").exists()
    trained(workdir)
    assert losses(workdir) == losses(straight)
    assert saved_steps(workdir) == [8, 16, 24]
    assert len(list((workdir / "checkpoints").iterdir())) == 3


@pytest.mark.slow
def test_killed_at_random_moments_until_it_is_done(tmp_path, straight):
    workdir, rng, kills = tmp_path / "run", random.Random(0), 0
    for _ in range(12):
        with Run(workdir) as run:
            run.until(lambda: (workdir / "metrics.jsonl").exists())
            run.process.join(rng.uniform(0.05, 0.6))
            kills += run.process.is_alive()
    trained(workdir)
    assert kills > 3
    assert losses(workdir) == losses(straight)
    assert digest(workdir, 24) == digest(straight, 24)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1])
def test_killed_at_any_delay_after_a_save_began(tmp_path, straight, delay):
    workdir = tmp_path / "run"
    folder = workdir / "checkpoints"
    with Run(workdir, "--config.data.pretrain.delay=0.002") as run:
        run.until(lambda: folder.exists() and any(p.name.startswith("8.saving") for p in folder.iterdir()))
        time.sleep(delay)
    trained(workdir, "--allow-config-change", "data")
    assert losses(workdir) == losses(straight)
    assert not [p for p in folder.iterdir() if not p.name.isdecimal() and "incomplete" not in p.name]
