"""SIGTERM and SIGINT save and exit 0; a second SIGINT exits at once."""

import signal

import pytest
from fault_runs import Run, losses, saved_steps, stopped_at, trained


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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
