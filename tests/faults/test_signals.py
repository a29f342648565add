"""SIGTERM and SIGINT save and exit 0; a second SIGINT exits at once."""

import os
import signal
import time

import pytest
from fault_runs import Run, losses, saved_steps, stopped_at, trained

from ssl_jax.devices.signals import WARNINGS, stop_requests

SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *SLOW])
def test_a_signal_saves_the_step_and_the_run_resumes_there(tmp_path, straight, number):
    workdir, gate = tmp_path / "run", tmp_path / "gate"
    six_batches = f"--config.data.pretrain.hold=(50, '{gate}')"  # and the record that is read for its shapes
    with Run(workdir, six_batches) as run:
        run.until_step(3)
        run.signal(number)
        run.until(lambda: f"{number.name}: finishing the step and saving" in run.said())
        gate.touch()
        assert run.wait() == 0
    stopped = stopped_at(run)
    assert f"stopped by {number.name} at step" in run.said()
    assert saved_steps(workdir) == [stopped]
    assert max(losses(workdir)) == stopped
    assert not (workdir / "LOCK").exists()
    trained(workdir, "--allow-config-change", "data")
    assert losses(workdir) == losses(straight)


def test_every_warning_of_a_cluster_asks_to_stop_and_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_requests() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert stop.reason is None
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup themselves
        for number in (*WARNINGS, signal.SIGTERM):
            with stop_requests() as stop:
                os.kill(os.getpid(), number)
                patience = time.monotonic() + 10  # any thread may be given the signal, not only this one
                while not stop.requested() and time.monotonic() < patience:
                    time.sleep(0.01)
            assert stop.reason == number.name
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_pause_longer_than_the_watchdog_waits_is_no_hang(tmp_path, straight):
    workdir, gate = tmp_path / "run", tmp_path / "gate"
    options = (f"--config.data.pretrain.hold=(50, '{gate}')", "--config.watch.hang_seconds=2")
    with Run(workdir, *options) as run:
        run.until_step(3)
        run.signal(signal.SIGSTOP)
        gate.touch()
        time.sleep(3)
        run.signal(signal.SIGCONT)
        assert run.wait() == 0
    assert losses(workdir) == losses(straight)


def test_a_second_sigint_exits_at_once_even_while_data_is_waited_for(tmp_path):
    workdir = tmp_path / "run"
    with Run(workdir, "--config.data.pretrain.stall=(0, 40)") as run:
        run.until_step(3)
        run.signal(signal.SIGINT)
        run.until(lambda: "finishing the step and saving; once more stops at once" in run.said())
        run.signal(signal.SIGINT)
        assert run.wait(10) == 130
    assert "interrupted twice; stopping at once, without saving" in run.said()
    assert saved_steps(workdir) == []
