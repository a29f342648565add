"""Runs: resumed equals straight, bad input stops with one message, nothing is lost."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import jax
import numpy as np
import pytest

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.cli import main
from ssl_jax.devices.compiler import keep_compiled_programs
from ssl_jax.devices.mesh import make_mesh
from ssl_jax.recipe import from_json, parse
from ssl_jax.rundir.log import read_metrics
from ssl_jax.training import run
from ssl_jax.training.reopen import open_run

STEPS = 20
RECIPE = ["--config", "simclr_conv_fashion:tiny"]
SHORT = [
    f"--config.total_steps={STEPS}",
    "--config.log.every_steps=1",
    "--config.checkpoint.every_steps=10",
    "--config.evaluate.every_percent=50",
    "--config.log.tensorboard=False",
]


def train(workdir, *options, recipe=RECIPE):
    return main(["train", *recipe, "--workdir", str(workdir), *SHORT, *options])


def losses(workdir):
    """The losses as they are written, to the last bit."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return {r["step"]: r["loss"] for r in map(json.loads, lines) if "loss" in r}


def parameter_hash(workdir, step):
    """SHA-256 of every array of the checkpoint of `step`."""
    import orbax.checkpoint as ocp

    state = ocp.StandardCheckpointer().restore((workdir / "checkpoints" / str(step) / "state").resolve())
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + np.asarray(state[name]).tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """These runs, in this process, in others and in those of other workers, share what they compile."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_JAX_COMPILE_CACHE", str(folder / "compiled"))
        yield
    keep_compiled_programs()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "straight"
    assert train(workdir) == 0
    return workdir


def kill_after(workdir, step):
    """Start the run in another process and kill -9 it once step 10 is saved and `step` is logged."""
    command = [sys.executable, "-m", "ssl_jax", "train", *RECIPE, "--workdir", str(workdir), *SHORT]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            if (workdir / "checkpoints" / "10").exists() and read_metrics(workdir)[-1]["step"] >= step:
                break
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_killed_and_resumed_equals_straight_to_the_last_bit(tmp_path, straight):
    workdir = tmp_path / "killed"
    kill_after(workdir, 11)
    assert max(losses(workdir)) >= 11
    assert not (workdir / "checkpoints" / str(STEPS)).exists()
    assert train(workdir) == 0
    assert "INFO resumed at step 10 of 20" in (workdir / "train.log").read_text()
    assert losses(workdir) == losses(straight)
    assert sorted(losses(workdir)) == list(range(1, STEPS + 1))
    assert parameter_hash(workdir, STEPS) == parameter_hash(straight, STEPS)


def test_starting_a_finished_run_again_changes_nothing(straight):
    before = (straight / "metrics.jsonl").read_bytes()
    assert train(straight) == 0
    assert (straight / "metrics.jsonl").read_bytes() == before


@pytest.fixture
def on_one_device(monkeypatch):
    """Runs inside the block have a mesh of one device."""

    @contextmanager
    def block():
        with monkeypatch.context() as patch:
            patch.setattr(run, "make_mesh", lambda *sizes: make_mesh(devices=jax.devices()[:1]))
            yield

    return block


def went_on(workdir, straight):
    """The relative distance of the losses of steps 11 to 20 from those of `straight`, of which `workdir` goes on at step 10."""
    shutil.copytree(straight, workdir)
    shutil.rmtree(workdir / "checkpoints" / str(STEPS))
    assert train(workdir) == 0
    assert "INFO resumed at step 10 of 20" in (workdir / "train.log").read_text()
    ours, theirs = losses(workdir), losses(straight)
    assert [ours[s] for s in range(1, 11)] == [theirs[s] for s in range(1, 11)]
    return np.array([abs(ours[s] / theirs[s] - 1) for s in range(11, STEPS + 1)])


def test_a_run_resumes_on_another_mesh_with_losses_equal_to_1e5(tmp_path, straight, on_one_device):
    """The steps that read what was restored, parameters and then moments, to 1e-5. From there on the steps of this recipe
    multiply rounding (its rate is high for a batch of 32): in float64 nothing of it is left, as the next test shows."""
    with on_one_device():
        assert train(tmp_path / "one") == 0
        apart = went_on(tmp_path / "eight_then_one", straight)
    other_way = went_on(tmp_path / "one_then_eight", tmp_path / "one")
    meshes = [json.loads((tmp_path / name / "env.json").read_text())["mesh"] for name in ("one", "one_then_eight")]
    assert [mesh["data"] for mesh in meshes] == [1, 8]
    for found in (apart, other_way):
        assert found[:2].max() <= 1e-5
        assert found.max() <= 1e-3


def test_every_record_is_logged_once_and_checks_ran(straight):
    records = read_metrics(straight)
    steps = [r["step"] for r in records if "loss" in r]
    assert steps == sorted(set(steps))
    assert [r["step"] for r in records if "health" in r] == [0, 10, 20]
    assert {r["health"] for r in records if "health" in r} <= {"healthy", "degrading", "collapsed"}
    assert all(0 <= r["probe_accuracy"] <= 1 for r in records if "health" in r)


def test_the_checkpoint_holds_cursor_recipe_and_fingerprint(straight):
    checkpoints = Checkpoints(straight / "checkpoints", read_only=True)
    meta = checkpoints.meta()
    assert meta["cursor"] == STEPS * 32
    assert json.loads(meta["recipe"])["total_steps"] == STEPS
    assert len(meta["data"]) == 64


def test_a_run_opens_and_is_evaluated_and_reported_where_its_pretraining_data_is_gone(straight, tmp_path, capsys):
    workdir = tmp_path / "moved"
    shutil.copytree(straight, workdir)
    whole = json.loads((workdir / "config.json").read_text())
    gone = {"target": "ssl_jax.data.sources:Arrays", "arrays": str(tmp_path / "gone.npz")}

    def write(**data):
        evaluate = whole["evaluate"] | {"probes": ["knn", "regression"], "baselines": ["raw"]}
        config = whole | {"data": whole["data"] | {"pretrain": gone} | data, "evaluate": evaluate}
        (workdir / "config.json").write_text(json.dumps(config))

    write(probe=gone, test=gone)
    opened = open_run(workdir)
    assert (opened.step, opened.setup.total_steps, opened.records.fields["image"].shape) == (STEPS, STEPS, (28, 28, 1))
    assert opened.records.count == len(parse(from_json(json.dumps(whole))).data.pretrain.build())
    write(**{split: whole["data"][split] | {"limit": 40} for split in ("probe", "test")})
    assert main(["eval", "--workdir", str(workdir)]) == 2  # without evaluate.target there is nothing to regress on
    said = capsys.readouterr()
    assert "pretrained (student)" in said.out
    assert "raw input, regression: the probe regression needs numbers to predict; set evaluate.target" in said.err
    assert json.loads((workdir / "eval" / "knn.json").read_text())["rows"].keys() == {
        "pretrained (student)",
        "raw input",
    }
    assert main(["report", "--workdir", str(workdir)]) == 0
    assert {"neighbours.png", "pca.png"} <= {p.name for p in (workdir / "samples").iterdir()}
    assert "gone.npz" in (workdir / "report.html").read_text()


def test_eval_asks_a_checkpoint_whose_it_is_and_which_step(straight, tmp_path, capsys):
    workdir = shutil.copytree(straight, tmp_path / "run")
    (workdir / "checkpoints" / "10").rename(workdir / "checkpoints" / "30")
    assert main(["eval", "--workdir", str(workdir)]) == 2
    assert "checkpoints/30 holds the state of step 10: it was copied or renamed" in capsys.readouterr().err
    (workdir / "config.json").write_text((workdir / "config.json").read_text().replace('"seed": 0', '"seed": 7'))
    assert main(["eval", "--workdir", str(workdir), "--step", "20"]) == 2
    assert "is not the recipe that" in (said := capsys.readouterr().err)
    assert "\n  seed: 0 -> 7\n" in said
    env = json.loads((workdir / "env.json").read_text())
    (workdir / "env.json").write_text(json.dumps(env | {"run": "another"}))
    assert main(["eval", "--workdir", str(workdir), "--step", "20"]) == 2
    assert f"checkpoints/20 belongs to another run ({env['run']}; this one is another)" in capsys.readouterr().err


def test_train_log_says_what_is_trained_on_what_before_the_first_step(straight):
    said = (straight / "train.log").read_text()
    before, _, _ = said.partition("INFO step 1/20")
    for words in (
        "data: 500 records of 10 classes",
        "devices: ",
        "parameters: 650,784 (encoder 109,536",
        "training step ...",
    ):
        assert words in before
    assert said.count("compiling the training step: done in") == 1


def test_another_recipe_in_the_same_workdir_is_refused_with_the_difference(straight, capsys):
    assert train(straight, "--config.optimizer.lr=0.5") == 2
    said = capsys.readouterr().err
    assert "optimizer.lr" in said
    assert "0.5" in said


def test_other_data_than_the_checkpoint_is_refused(straight, capsys):
    options = ["--config.data.pretrain.limit=400", "--allow-config-change", "data"]
    assert train(straight, *options, "--config.total_steps=22", "--allow-config-change", "total_steps") == 2
    assert "the order of examples would change" in capsys.readouterr().err


def test_a_loss_that_stays_nan_stops_the_run_and_names_the_examples(tmp_path, capsys):
    # A learning rate of 1e30 makes the second forward pass overflow.
    assert train(tmp_path / "nan", "--config.optimizer.lr=1e30", "--config.optimizer.max_nonfinite_steps=3") == 2
    said = capsys.readouterr().err
    assert "not finite 3 steps in a row" in said
    assert "none of them was applied" in said
    listed = [line for line in said.splitlines() if line.startswith("  step ")]
    assert len(listed) == 3
    assert all(len(line.split(":")[1].split()) == 32 for line in listed)
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--config.batch_size=30", "--config.mesh.data=8"], ["batch_size=30", "data x fsdp", "24 or 32"]),
        (["--config.optimizer.lrr=1"], ["optimizer.lrr", "optimizer.lr"]),
        (["--config.objective.temprature=1"], ["temprature", "temperature"]),
        (["--config.objective.temperature=0.0"], ["temperature=0.0", "greater than 0"]),
        (["--config.mesh.data=3"], ["mesh data=3", "8 device"]),
        (["--config.evaluate.encoder=teacher"], ["evaluate.encoder='teacher'", "student"]),
        (["--config.optimizer.accumulation=2"], ["accumulation=2 is refused", "negatives"]),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(tmp_path, capsys, options, words):
    assert train(tmp_path / "bad", *options) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert "Traceback" not in said


def test_an_image_that_the_patch_does_not_divide_is_refused(tmp_path, capsys):
    recipe = ["--config", "mae_vit_fashion:tiny"]
    assert train(tmp_path / "bad", "--config.model.patch=5", recipe=recipe) == 2
    said = capsys.readouterr().err
    assert "28x28 is not divisible by the patch size 5" in said
    assert "25 or 30" in said
