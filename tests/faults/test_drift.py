"""A run resumes with its own recipe, data and directory, or says what differs."""

import json
import shutil

from fault_objective import reads
from fault_runs import Run, losses, saved_steps, stopped_at, trained

CLOCK = """
import itertools, time
now, calls = time.time, itertools.count()
time.time = lambda: now() - 3600 * next(calls)
"""


def test_another_recipe_is_refused_with_the_difference_unless_the_key_is_allowed(tmp_path, straight):
    workdir = shutil.copytree(straight, tmp_path / "run")
    change = ["--config.optimizer.lr=0.5"]
    run = trained(workdir, *change, code=2)
    assert "optimizer.lr: 0.01 -> 0.5" in run.said()
    assert "--allow-config-change optimizer.lr" in run.said()
    run = trained(workdir, *change, "--allow-config-change", "optimizer.lr")
    assert "config changed on resume: optimizer.lr: 0.01 -> 0.5" in run.said()
    assert "the spike rule forgets earlier losses, since optimizer.lr changed" in run.said()


def test_other_data_is_refused_unless_it_is_allowed(tmp_path, straight):
    workdir = shutil.copytree(straight, tmp_path / "run")
    change = ["--config.data.pretrain.salt=edited", "--allow-config-change", "data"]
    run = trained(workdir, *change, code=2)
    assert "the order of examples would change" in run.said()
    assert "--allow-data-change" in run.said()
    run = trained(workdir, *change, "--allow-data-change")
    assert "data changed on resume: " in run.said()


def test_unreadable_records_are_replaced_counted_and_listed(tmp_path):
    workdir = tmp_path / "run"
    options = ["--config.data.pretrain.bad=(3, 17)", "--config.data.max_bad_fraction=0.05"]
    run = trained(workdir, *options)
    listed = [json.loads(line) for line in (workdir / "bad_records.jsonl").read_text().splitlines()]
    assert sorted(r["index"] for r in listed) == [3, 17]
    assert {r["reason"] for r in listed} == {"ValueError: truncated"}
    assert "2 records could not be read and were replaced" in run.said()
    run = trained(
        tmp_path / "worse", "--config.data.pretrain.bad=(3, 17)", "--config.data.max_bad_fraction=0.02", code=2
    )
    assert "data.max_bad_fraction" in run.said()


def test_two_runs_in_one_directory_are_one_and_a_refusal(tmp_path):
    with Run(tmp_path / "run", "--config.data.pretrain.stall=(0, 30)") as first:
        first.until_step(2)
        second = trained(tmp_path / "run", "--config.data.pretrain.stall=(0, 30)", code=2)
        assert f"is in use by another run (process {first.process.pid}" in second.said()
        assert first.process.is_alive()


def test_a_clock_that_runs_backwards_changes_nothing(tmp_path, straight):
    trained(tmp_path / "run", prepare=CLOCK)
    assert losses(tmp_path / "run") == losses(straight)
    assert saved_steps(tmp_path / "run") == [8, 16, 24]


def test_a_run_resumes_on_another_mesh_with_every_example_once_an_epoch(tmp_path, straight):
    workdir, log, gate = tmp_path / "run", tmp_path / "reads", tmp_path / "gate"
    options = [f"--config.data.pretrain.log={log}", f"--config.data.pretrain.hold=(66, '{gate}')"]
    eight = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"}
    with Run(workdir, *options) as run:
        run.until_step(5)
        run.signal(15)
        run.until(lambda: "SIGTERM: finishing the step" in run.said())
        gate.touch()
        assert run.wait() == 0
    assert 5 <= stopped_at(run) < 24
    trained(workdir, *options, XLA_FLAGS=eight["XLA_FLAGS"].replace("8 ", "4 "))
    found, expected = losses(workdir), losses(straight)
    assert sorted(found) == sorted(expected)
    assert all(abs(found[s] / expected[s] - 1) < 1e-5 for s in expected)
    seen = [record for _, record in reads(log)]
    for _ in range(2):
        seen.remove(0)  # each start looks at record 0 for its shapes
    assert sorted(seen) == sorted(list(range(64)) * 3)
