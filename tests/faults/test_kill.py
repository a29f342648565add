"""kill -9 at any moment costs the steps since the last checkpoint, and nothing else."""

import os
import random
import time

import pytest
from fault_runs import Run, digest, losses, saved_steps, trained

from ssl_jax.rundir.log import read_metrics

KILLS = int(os.environ.get("SSL_JAX_KILLS", "200"))
DEFAULTS = "--config.log.tensorboard=True", "--config.checkpoint.every_steps=3"  # eight saves: removals too

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


def lines(workdir):
    """The lines of metrics.jsonl without what depends on the speed of the machine."""
    return [
        {key: value for key, value in record.items() if not key.endswith("_per_s") and not key.startswith("data_")}
        for record in read_metrics(workdir)
    ]


def content(workdir):
    """What lies in a run directory and its checkpoints, by name."""
    return {p.name for folder in (workdir, workdir / "checkpoints") for p in folder.iterdir()}


def killed(workdir, rng):
    """Start, or resume, and kill at a random moment: whether it came to that before the end."""
    saving = lambda: any(".saving" in p.name for p in (workdir / "checkpoints").glob("*"))  # noqa: E731
    step, before = rng.randrange(1, 25), time.monotonic()
    moment, delay = rng.choice(
        [
            (lambda: True, rng.uniform(0, 2)),  # anywhere, much of it before the first step
            (lambda: max(losses(workdir), default=0) >= step and time.monotonic() - before > 0.2, rng.uniform(0, 0.05)),
            (saving, rng.uniform(0, 0.05)),
            (lambda: False, 0),  # not at all
        ]
    )
    with Run(workdir, *DEFAULTS) as run:
        while run.process.is_alive() and not moment():
            time.sleep(0.001)
        run.process.join(delay)
    assert run.process.exitcode in (0, -9), run.said()
    return run.process.exitcode == -9


@pytest.mark.slow
def test_killed_at_random_moments_equals_straight_and_leaves_no_debris(tmp_path):
    """With the options that users have. SSL_JAX_KILLS says how many: 200."""
    trained(tmp_path / "straight", *DEFAULTS)
    straight, rng = tmp_path / "straight", random.Random(KILLS)
    expected, kills, runs = lines(straight), 0, 0
    while kills < KILLS:
        runs += 1
        workdir = tmp_path / f"run{runs}"
        while killed(workdir, rng):
            kills += 1
        assert lines(workdir) == expected, (kills, runs)
        assert content(workdir) == content(straight), (kills, runs)
        assert digest(workdir, 24) == digest(straight, 24)
    print(f"{kills} kills in {runs} runs")


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
