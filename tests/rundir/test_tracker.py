"""A tracker gets what it takes; one that hangs, dies, or cannot write costs the run nothing but a line in the log."""

import json
import sys
import time

import pytest

from ssl_jax.errors import UserError
from ssl_jax.rundir import tracker as module
from ssl_jax.rundir.tracker import Tracker, check_installed

TAKES = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
STUBS = {
    "dies": ("import sys; sys.stdin.readline(); sys.exit(3)", "exit code 3"),
    "kills itself": ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
    "finds the disk full": ("open('/dev/full', 'w', buffering=1).write('x\\n')", "exit code 1"),
    "hangs": ("import time; time.sleep(600)", "does not come to an end"),
}
# What the two libraries are asked for, written down.
WANDB = """
import json, os, sys
class Settings(dict):
    def __init__(self, **options): super().__init__(options)
class Run:
    def __init__(self, options):
        self.told = [{"mode": os.environ["WANDB_MODE"], "config": options["config"], "id": options["id"]}]
    def log(self, numbers, step): self.told.append([step, numbers])
    def finish(self): open(os.environ["TOLD"], "w").write(json.dumps(self.told))
def init(**options): return Run(options)
"""
MLFLOW = """
import json, os
from types import SimpleNamespace
class MlflowClient:
    told = [os.environ["MLFLOW_TRACKING_URI"][:8]]
    def get_experiment_by_name(self, name): return None
    def create_experiment(self, name): return "1"
    def search_runs(self, *args, **options): return []
    def create_run(self, *args, **options): return SimpleNamespace(info=SimpleNamespace(run_id="r"))
    def log_param(self, run, key, value): self.told.append([key, value])
    def log_metric(self, run, key, value, step): self.told.append([step, key, value])
    def set_terminated(self, run): open(os.environ["TOLD"], "w").write(json.dumps(self.told))
"""


def stub(tmp_path, code, *words):
    return Tracker("wandb", tmp_path, [sys.executable, "-c", code, *map(str, words)])


def test_it_is_told_every_number_and_nothing_else(tmp_path):
    tracker = stub(tmp_path, TAKES, tmp_path / "taken")
    tracker.write(10, {"step": 10, "loss": 4.5, "health": "healthy", "norm": None, "ok": True})
    tracker.write(20, {"step": 20, "loss": 4.0})
    tracker.close()
    told = [json.loads(line) for line in (tmp_path / "taken").read_text().splitlines()]
    assert told == [{"step": 10, "loss": 4.5}, {"step": 20, "loss": 4.0}]


@pytest.mark.parametrize("case", STUBS)
def test_one_that_does_not_work_is_told_once_and_costs_no_time(tmp_path, monkeypatch, caplog, case):
    monkeypatch.setattr(module, "PATIENCE", 0.3 if case == "hangs" else 20)
    code, reason = STUBS[case]
    tracker, slowest = stub(tmp_path, code), 0.0
    for step in range(50):
        start = time.monotonic()
        tracker.write(step, {"loss": 1.0})
        slowest = max(slowest, time.monotonic() - start)
    tracker.close()
    assert slowest < 1
    assert tracker._process.wait(10) != 0
    assert caplog.text.count("stopped") == 1
    assert reason in caplog.text


def test_what_finds_no_room_is_dropped_and_counted(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "WAITING", 5)
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    tracker = stub(tmp_path, "import time; time.sleep(600)")
    for step in range(100):
        tracker.write(step, {"x" * 100_000: 1.0})  # more than a pipe holds
    tracker.close()
    assert any(f"{count} lines were dropped" in caplog.text for count in (94, 95))


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / "wandb.log").symlink_to(tmp_path / "elsewhere")
    tracker = stub(tmp_path, TAKES, tmp_path / "taken")
    tracker.write(1, {"loss": 1.0})
    tracker.close()
    assert "stopped" in caplog.text
    assert not (tmp_path / "elsewhere").exists()


def test_the_libraries_get_recipe_and_numbers_and_need_no_account(tmp_path, monkeypatch):
    (tmp_path / "fakes" / "mlflow").mkdir(parents=True)
    (tmp_path / "fakes" / "wandb.py").write_text(WANDB)
    (tmp_path / "fakes" / "mlflow" / "__init__.py").write_text("")
    (tmp_path / "fakes" / "mlflow" / "tracking.py").write_text(MLFLOW)
    (tmp_path / "config.json").write_text(json.dumps({"optimizer": {"lr": 0.5}}))
    (tmp_path / "env.json").write_text(json.dumps({"run": "abc"}))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fakes"))
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    both = []
    for name in ("wandb", "mlflow"):
        monkeypatch.setenv("TOLD", str(tmp_path / f"{name}.told"))
        both.append(Tracker(name, tmp_path))
        both[-1].write(7, {"loss": 2.0})
        while both[-1]._process is None:  # the variables are those of its start
            time.sleep(0.01)
    for tracker in both:
        tracker.close()
    wandb, mlflow = (json.loads((tmp_path / f"{name}.told").read_text()) for name in ("wandb", "mlflow"))
    assert wandb == [{"mode": "offline", "config": {"optimizer.lr": "0.5"}, "id": "abc"}, [7, {"loss": 2.0}]]
    assert mlflow == ["file:///", ["optimizer.lr", "0.5"], [7, "loss", 2.0]]


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"log\.mlflow=True needs MLflow.*ssl_jax\[mlflow\]"):
        check_installed(["mlflow"])
