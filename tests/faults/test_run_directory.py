"""A run and its directory: moved away, its files deleted, its checkpoints gone, TensorBoard's disk full."""

import json
import shutil

import numpy as np
from fault_runs import Run, losses, saved_steps, trained

from ssl_jax.data.order import order

DEAD_BOARD = """
import errno, signal, threading
from ssl_jax.rundir import board
board.PATIENCE = 0.5
signal.alarm(100)  # a run that waits for ever ends here, with a signal
threading.excepthook = lambda args: None  # what the library's thread dies of
from tensorboardX.event_file_writer import EventsWriter
def full(self, event):
    raise OSError(errno.ENOSPC, "No space left on device")
EventsWriter._write_serialized_event = full
"""


LAST = int(order(0, np.array([63]), 64)[0][0])  # the last record of the first epoch


def held(workdir, gate, *options):
    """A run that waits for the file `gate` at the end of its first epoch."""
    return Run(workdir, f"--config.data.pretrain.hold=(60, '{gate}')", *options, name=gate.name)


def test_a_run_that_was_moved_leaves_its_old_place_alone(tmp_path):
    workdir, gate, second_gate = tmp_path / "run", tmp_path / "gate", tmp_path / "second"
    with held(workdir, gate, f"--config.data.pretrain.bad=({LAST},)", "--config.data.max_bad_fraction=0.05") as first:
        first.until_step(5)
        workdir.rename(tmp_path / "elsewhere")
        with held(workdir, second_gate) as second:
            second.until_step(5)
            gate.touch()
            assert first.wait() == 2, first.said()
            assert f"was moved to {tmp_path / 'elsewhere'} while it was in use" in first.said()
            assert json.loads((workdir / "LOCK").read_text())["pid"] == second.process.pid
            assert not saved_steps(workdir)
            assert not (tmp_path / "elsewhere" / "LOCK").exists()
            assert max(losses(tmp_path / "elsewhere")) >= 7  # its metrics went with it
            assert max(losses(workdir)) < 8
            assert f'"index": {LAST},' in (tmp_path / "elsewhere" / "bad_records.jsonl").read_text()
            assert not (workdir / "bad_records.jsonl").exists()
            second_gate.touch()
            assert second.wait() == 0, second.said()


def test_metrics_deleted_during_a_run_are_there_at_its_end(tmp_path, straight):
    workdir, gate = tmp_path / "run", tmp_path / "gate"
    with held(workdir, gate) as run:
        run.until_step(5)
        (workdir / "metrics.jsonl").unlink()
        gate.touch()
        assert run.wait() == 0
    assert losses(workdir) == losses(straight)
    assert "it is back with all its lines" in run.said()


def test_metrics_of_a_run_whose_checkpoints_are_gone_are_kept_beside(tmp_path, straight):
    workdir = shutil.copytree(straight, tmp_path / "run")
    before = (workdir / "metrics.jsonl").read_bytes()
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "checkpoints").symlink_to(tmp_path / "not mounted")
    run = trained(workdir, code=2)
    assert "is not there: mount it" in run.said()
    assert (workdir / "metrics.jsonl").read_bytes() == before
    (workdir / "checkpoints").unlink()
    run = trained(workdir)
    (copy,) = workdir.glob("metrics.jsonl.before-*")
    assert copy.read_bytes() == before
    assert f"are cut, since training goes on there; the file as it was is {copy.name}" in run.said()
    assert losses(workdir) == losses(straight)


def test_a_tensorboard_whose_disk_is_full_neither_stops_a_run_nor_keeps_it_waiting(tmp_path, straight):
    run = trained(tmp_path / "run", prepare=DEAD_BOARD)
    assert losses(tmp_path / "run") == losses(straight)
    assert run.said().count("TensorBoard stopped") == 1
