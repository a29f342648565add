"""A run directory: one run at a time, one recipe, nothing secret in it, and a clear word when the disk is full."""

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssl_jax.errors import UserError
from ssl_jax.rundir import workdir as module
from ssl_jax.rundir.identity import identity
from ssl_jax.rundir.log import to_line
from ssl_jax.rundir.workdir import differences, environment, existing, open_workdir, redacted_arguments

CONFIG = {"seed": 0, "optimizer": {"lr": 1e-3, "clip": None}, "evaluate": {"shots": (10, 100)}}


def changed(**optimizer):
    return CONFIG | {"optimizer": CONFIG["optimizer"] | optimizer}


def refusal(path, config=CONFIG, **options) -> str:
    with pytest.raises(UserError) as caught, open_workdir(path, config, **options):
        pass
    return str(caught.value)


# --- config.json


def test_a_new_directory_holds_recipe_environment_and_lock(tmp_path):
    path = tmp_path / "runs of mine" / "x"
    with open_workdir(path, CONFIG) as workdir:
        assert not workdir.resumed
        assert workdir.path == path
        assert {p.name for p in path.iterdir()} == {"LOCK", "config.json", "env.json"}
        assert json.loads((path / "config.json").read_text())["evaluate"]["shots"] == [10, 100]
    assert not (path / "LOCK").exists()


def test_the_same_recipe_resumes(tmp_path):
    with open_workdir(tmp_path, CONFIG):
        pass
    with open_workdir(tmp_path, CONFIG) as workdir:
        assert workdir.resumed
        assert workdir.config.evaluate.shots == (10, 100)
    env = json.loads((tmp_path / "env.json").read_text())
    assert len(env["earlier"]) == 1


def test_another_recipe_is_refused_with_the_difference_and_the_options(tmp_path):
    with open_workdir(tmp_path, CONFIG):
        pass
    before = (tmp_path / "config.json").read_bytes()
    said = refusal(tmp_path, changed(lr=0.01, b1=0.9))
    assert "\n  optimizer.b1: (not set) -> 0.9\n  optimizer.lr: 0.001 -> 0.01\n" in said
    assert "another --workdir" in said
    assert "restore these values" in said
    assert "--allow-config-change optimizer.b1 --allow-config-change optimizer.lr" in said
    assert (tmp_path / "config.json").read_bytes() == before
    assert not (tmp_path / "LOCK").exists()


def test_a_change_that_is_allowed_is_taken_and_logged(tmp_path):
    with open_workdir(tmp_path, CONFIG):
        pass
    assert "optimizer.clip: None -> 1.0" in refusal(tmp_path, changed(lr=0.01, clip=1.0), allow_change=["optimizer.lr"])
    with open_workdir(tmp_path, changed(lr=0.01), allow_change=["optimizer"]) as workdir:
        assert workdir.resumed
    assert "WARNING config changed on resume: optimizer.lr: 0.001 -> 0.01" in (tmp_path / "train.log").read_text()
    with open_workdir(tmp_path, changed(lr=0.01)):
        pass


def test_a_change_is_taken_only_when_the_run_accepted_it_or_ended(tmp_path):
    with open_workdir(tmp_path, CONFIG):
        pass
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError), open_workdir(tmp_path, changed(lr=0.01), allow_change=["optimizer"]):
        raise UserError("the state does not fit")
    assert (tmp_path / "config.json").read_bytes() == before
    with open_workdir(tmp_path, changed(lr=0.01), allow_change=["optimizer"]) as workdir:
        workdir.accept(identity(tmp_path).allowing({"optimizer.lr": ("0.001", "0.01")}))
        assert json.loads((tmp_path / "config.json").read_text())["optimizer"]["lr"] == 0.01
    assert json.loads((tmp_path / "config.json").read_text())["optimizer"]["lr"] == 0.01
    assert identity(tmp_path).allowed == {"optimizer.lr": ("0.01",)}


def test_a_run_keeps_its_name_and_half_written_files_are_removed(tmp_path):
    with open_workdir(tmp_path, CONFIG):
        name = identity(tmp_path).name
        (tmp_path / ".metrics.jsonl.123").write_text("what a killed run had not renamed yet")
        (tmp_path / ".mine.123").write_text("")
    assert len(name) == 16
    with open_workdir(tmp_path, CONFIG):
        assert identity(tmp_path).name == name
    assert {p.name for p in tmp_path.glob(".*")} == {".mine.123"}
    (tmp_path / "checkpoints" / "8").mkdir(parents=True)
    (tmp_path / "env.json").write_text("lost")
    with open_workdir(tmp_path, CONFIG):
        assert identity(tmp_path).name == ""  # its checkpoints know it


def test_only_flags_that_can_help_are_named(tmp_path):
    with open_workdir(tmp_path, CONFIG | {"batch_size": 8}):
        pass
    assert "add --allow-config-change batch_size" in refusal(tmp_path, CONFIG | {"batch_size": 16})
    (tmp_path / "checkpoints" / "8").mkdir(parents=True)
    said = refusal(tmp_path, CONFIG | {"batch_size": 8, "model": {"width": 8}})
    assert (
        "add --allow-config-change model.width\nThis works where every array of the checkpoint keeps its name" in said
    )
    for flags in ([], ["batch_size"]):
        said = refusal(tmp_path, CONFIG | {"batch_size": 16}, allow_change=flags)
        assert "batch_size cannot change once there is a checkpoint" in said
        assert "--allow-config-change" not in said


def test_differences_see_types_and_removed_keys():
    assert differences({"a": 1, "b": {"c": (1,)}, "d": 1}, {"a": 1.0, "b": {"c": (2,)}}) == {
        "a": ("1", "1.0"), "b.c": ("(1,)", "(2,)"), "d": ("1", "(not set)"),
    }  # fmt: skip
    assert differences({"a": [1]}, {"a": (1,)}) == {}
    assert (
        differences({"optimizer": {"lr": 1.0}}, {"optimizer": {"lr": 1.0, "options": None}}) == {}
    )  # a key that came later
    assert differences({"a": None}, {"a": 1}) == {"a": ("None", "1")}


def test_a_damaged_config_is_not_written_over(tmp_path):
    (tmp_path / "config.json").write_text('{"seed"')
    assert "config.json is not valid JSON" in refusal(tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"seed"'


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "notes").write_text("")
    assert f"{tmp_path / 'notes'} is a file, not a directory" in refusal(tmp_path / "notes")
    assert "is a file, not a directory" in refusal(tmp_path / "notes" / "x")


def test_reading_needs_a_run(tmp_path):
    with open_workdir(tmp_path / "good", CONFIG):
        pass
    assert existing(tmp_path / "good") == tmp_path / "good"
    for path, said in (
        (tmp_path / "bad", "does not exist"),
        (tmp_path, "has no config.json, so no run was started there"),
    ):
        with pytest.raises(UserError, match=said):
            existing(path)
    with pytest.raises(UserError, match=r"Runs in .+: good"):
        existing(tmp_path / "bad")


# --- LOCK


HOLD = """
import json, sys
from ssl_jax.rundir.workdir import open_workdir
with open_workdir(sys.argv[1], json.loads(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path` until it is killed or its input ends."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), json.dumps(CONFIG)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate()


def test_a_second_run_is_refused_and_the_first_one_keeps_its_lock(tmp_path, holder):
    said = refusal(tmp_path)
    assert f"is in use by another run (process {holder.pid} on {socket.gethostname()}, since " in said
    assert "wait for it, end it, or use another --workdir" in said
    assert json.loads((tmp_path / "LOCK").read_text())["pid"] == holder.pid


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path, holder, caplog):
    holder.kill()
    holder.wait()
    with open_workdir(tmp_path, CONFIG) as workdir:
        assert workdir.resumed
        assert json.loads((tmp_path / "LOCK").read_text())["pid"] == os.getpid()
    assert f"of process {holder.pid}, which ended without releasing it" in caplog.text
    assert "took over" in (tmp_path / "train.log").read_text()


def test_two_runs_in_one_process_are_two_runs(tmp_path):
    with open_workdir(tmp_path, CONFIG):
        assert "in use by another run" in refusal(tmp_path)
        assert (tmp_path / "LOCK").exists()


def write_lock(path: Path, **record) -> None:
    (path / "LOCK").write_text(json.dumps({"pid": 1, "host": socket.gethostname(), "started": "yesterday"} | record))


def test_a_lock_from_another_host_is_refused_with_the_remedy(tmp_path):
    write_lock(tmp_path, host="elsewhere")
    said = refusal(tmp_path)
    assert "process 1 on elsewhere, since yesterday" in said
    assert f"if no run is active there any more, delete {tmp_path / 'LOCK'}" in said
    assert "elsewhere" in (tmp_path / "LOCK").read_text()


def test_where_files_cannot_be_locked_the_process_number_decides(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", unsupported)
    write_lock(tmp_path, pid=1)  # alive
    assert "in use by another run (process 1" in refusal(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_lock(tmp_path, pid=ended.pid)
    with open_workdir(tmp_path, CONFIG):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_lock_cut_short_by_a_crash_is_taken(tmp_path, content):
    (tmp_path / "LOCK").write_text(content)
    with open_workdir(tmp_path, CONFIG):
        pass


def test_a_process_number_used_again_does_not_block(tmp_path):
    write_lock(tmp_path, pid=1, flock=True)  # pid 1 lives, but the kernel's lock is free: not that run
    with open_workdir(tmp_path, CONFIG):
        pass


# --- env.json


def test_environment_has_versions_and_no_secrets(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("TPU_API_TOKEN", "hunter2")
    monkeypatch.setenv("WANDB_API_KEY", "hunter2")
    monkeypatch.setattr(sys, "argv", ["ssl-jax", "--config.data.token=hunter2", "--password", "hunter2", "--x=1"])
    env = environment()
    assert "hunter2" not in json.dumps(env)
    assert env["environment"]["TPU_API_TOKEN"] == "(redacted)"
    assert env["environment"]["JAX_PLATFORMS"] == "cpu"
    assert env["packages"]["jax"]
    assert env["argv"] == ["ssl-jax", "--config.data.token=(redacted)", "--password", "(redacted)", "--x=1"]


def test_ordinary_arguments_are_kept():
    argv = ["ssl-jax", "train", "--workdir", "my runs/x", "--config.optimizer.lr=1e-3", "--allow-config-change", "seed"]
    assert redacted_arguments(argv) == argv


def test_devices_and_facts_are_added_when_they_are_known(tmp_path):
    device = SimpleNamespace(platform="cpu", device_kind="cpu")
    with open_workdir(tmp_path, CONFIG) as workdir:
        workdir.record_devices([device] * 8, fingerprint="abc")
    env = json.loads((tmp_path / "env.json").read_text())
    assert env["devices"] == {"cpu:cpu": 8}
    assert env["fingerprint"] == "abc"
    assert env["python"]


def test_a_damaged_env_does_not_stop_a_run(tmp_path):
    with open_workdir(tmp_path, CONFIG):
        pass
    (tmp_path / "env.json").write_text("[]")
    with open_workdir(tmp_path, CONFIG):
        pass
    assert json.loads((tmp_path / "env.json").read_text())["earlier"] == []


# --- failures


def test_no_space_left_says_what_is_kept(tmp_path):
    for step in ("100", "200"):
        (tmp_path / "checkpoints" / step).mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text(to_line(210, {"loss": 1.0}))
    with pytest.raises(UserError) as caught, open_workdir(tmp_path, CONFIG):
        raise OSError(errno.ENOSPC, "No space left on device")
    said = str(caught.value)
    assert said.startswith(f"no space left for {tmp_path} (No space left on device).")
    assert "What was written is kept: checkpoints up to step 200, metrics up to step 210." in said
    assert "Free some space and start again with the same command to resume" in said
    assert not (tmp_path / "LOCK").exists()


def test_a_directory_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "LOCK"))

    monkeypatch.setattr(module, "_open_locked", denied)
    assert f"--workdir {tmp_path} cannot be written: Permission denied" in refusal(tmp_path)


def test_other_errors_pass_and_are_noted_in_the_log(tmp_path):
    with pytest.raises(FileNotFoundError), open_workdir(tmp_path, CONFIG):
        raise FileNotFoundError(errno.ENOENT, "No such file", "photo.png")
    assert "ERROR stopped by FileNotFoundError" in (tmp_path / "train.log").read_text()
    with open_workdir(tmp_path, CONFIG) as workdir:
        assert workdir.resumed
