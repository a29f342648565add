"""Phases: resumed equals straight inside each and at their border, what comes across it, what is refused."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.checkpoint.store import Checkpoints, named
from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.models.grid import resize_tokens
from ssl_jax.models.vit import INTERPOLATION_OFFSET
from ssl_jax.recipe import load, parse
from ssl_jax.recipe.merging import merged
from ssl_jax.recipe.phases import borders
from ssl_jax.training.phases import alone, crossed, stretch_of, stretches
from ssl_jax.training.reopen import open_run
from ssl_jax.training.run import batch_like, build, state_like
from ssl_jax.training.step import init_state

TOY = str(Path(__file__).parent / "toy_phases.py")
ALLOW = ("toy_phases",)


def train(workdir, *options, spec=TOY):
    return main(["train", "--config", spec, "--workdir", str(workdir), *options])


def arrays(workdir, step):
    """Every array of the checkpoint of `step`, by name."""
    with_shapes = Checkpoints(workdir / "checkpoints", read_only=True)
    like = {k: jax.ShapeDtypeStruct(shape, dtype) for k, (shape, dtype) in with_shapes.shapes(step).items()}
    return with_shapes.read(step, like), with_shapes.meta(step)


def records(workdir, *keys):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {r["step"]: [r[k] for k in keys] for r in lines if keys[0] in r}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "straight"
    assert train(workdir) == 0
    return workdir


@pytest.mark.parametrize("step", [2, 4, 6])
def test_resumed_inside_a_phase_or_at_its_end_equals_straight_to_the_last_bit(straight, tmp_path, step):
    workdir = shutil.copytree(straight, tmp_path / "run")
    for later in (s for s in (2, 4, 6, 8) if s > step):
        shutil.rmtree(workdir / "checkpoints" / str(later))
    assert train(workdir) == 0
    assert f"resumed at step {step} of 8" in (workdir / "train.log").read_text()
    assert records(workdir, "loss", "lr") == records(straight, "loss", "lr")
    ours, expected = arrays(workdir, 8)[0], arrays(straight, 8)[0]
    assert ours.keys() == expected.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], expected[name], err_msg=name)


def test_one_directory_holds_both_and_each_checkpoint_says_its_phase(straight):
    (small, first), (large, second) = arrays(straight, 4), arrays(straight, 6)
    assert (first["phase"]["name"], second["phase"]["name"]) == ("small", "large")
    assert small["params.encoder.positions"].shape == (4, 8)
    assert large["params.encoder.positions"].shape == (16, 8)
    assert "extra.anchor.positions" in large.keys() - small.keys()
    rates = [lr for _, lr in records(straight, "loss", "lr").values()]
    np.testing.assert_array_equal(rates[:2], rates[4:6])  # a warm-up of one step, then the peak, in each
    assert rates[7] < rates[3], "a phase of its own schedules decays within its own steps"
    for step, size in ((4, 8), (8, 16)):
        opened = open_run(straight, step, ALLOW)
        assert opened.recipe.augment.options["size"] == size
        assert opened.step == step


def test_what_crosses_a_border():
    recipe = parse(load(TOY), ALLOW)
    before, after = (build(s.recipe, 64, s.origin) for s in stretches(recipe, 64))
    batch = batch_like(recipe.data.pretrain.build(), 8, None)
    mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"), devices=jax.devices()[:1])
    zeros = {k: jnp.zeros(x.shape, x.dtype) for k, x in batch.items()}
    with jax.set_mesh(mesh):
        like = state_like(after, batch, mesh)
        state = jax.tree.map(lambda x: x + jnp.ones_like(x), init_state(before, zeros))
        old = jax.tree.map(np.asarray, named(state))
        new = named(crossed(after, jax.tree.map(jnp.copy, state), like, batch))
    same = [k for k in old if "positions" not in k and not k.startswith("window")]
    assert {"step", "params.encoder.embed.kernel", "extra.teacher.embed.bias"} < set(same)
    assert any("mu.encoder.embed.kernel" in k for k in same)
    for name in same:
        np.testing.assert_array_equal(new[name], old[name], err_msg=name)
    table = resize_tokens(jnp.asarray(old["params.encoder.positions"]), (2, 2), (4, 4), INTERPOLATION_OFFSET)
    np.testing.assert_allclose(new["params.encoder.positions"], table, rtol=1e-6)
    (squares,) = (k for k in old if k.endswith("nu.encoder.positions"))
    grid = old[squares].reshape(2, 2, 8)
    np.testing.assert_array_equal(new[squares].reshape(4, 4, 8), grid.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(new["extra.anchor.positions"], new["extra.teacher.positions"])


def test_the_phase_of_a_step_is_a_function_of_the_recipe():
    recipe = parse(load(TOY), ALLOW)
    plan = stretches(recipe, 64)
    assert [stretch_of(plan, step).name for step in (0, 1, 4, 5, 8)] == ["small", "small", "small", "large", "large"]
    assert [s.recipe.steps(64) for s in plan] == [8, 4]  # what its schedules span
    whole = parse(load(f"{TOY}:plain"), ALLOW)
    assert [(s.name, s.first, s.end) for s in stretches(whole, 64)] == [("", 0, 8)]
    parts = alone(load(TOY), recipe, 64)
    assert {name: (part["total_steps"], part["augment"]["size"]) for name, part in parts.items()} == {
        "small": (4, 8),
        "large": (4, 16),
    }


def test_lengths_in_every_unit_and_what_is_left():
    sections = [
        {"name": "a", "percent": 25},
        {"name": "b", "examples": 16},
        {"name": "c"},
        {"name": "d", "epochs": 0.25},
    ]
    recipe = parse(load(TOY).to_dict() | {"phases": sections}, ALLOW)
    assert borders(recipe, 64) == (2, 4, 6, 8)


def test_an_override_replaces_a_duration_of_another_unit_and_a_component_of_another_class():
    base = {"schedule": {"name": "cosine", "warmup_percent": 5}, "augment": {"target": "a:A", "size": 8}}
    over = {"schedule": {"warmup_steps": 3}, "augment": {"target": "b:B"}}
    assert merged(base, over) == {"schedule": {"name": "cosine", "warmup_steps": 3}, "augment": {"target": "b:B"}}
    assert merged(base, {"augment": {"size": 9}})["augment"] == {"target": "a:A", "size": 9}


def test_the_phases_follow_the_batch_size():
    config = load(TOY, ["--config.batch_size=16"])
    assert (config.total_steps, config.phases[0]["steps"]) == (4, 2)


REFUSED = {
    "key": ([{"name": "a", "mesh": {"data": 2}}, {"name": "b"}], "'mesh', which no phase can have"),
    "twice": ([{"name": "a", "steps": 4}, {"name": "a"}], r"phases=\('a', 'a'\): must be phases of different names"),
    "open": ([{"name": "a"}, {"name": "b"}], "one of them may take what is left"),
    "units": ([{"name": "a", "steps": 1, "percent": 5}], "must be of one length"),
    "option": ([{"name": "a", "optimizer": {"lr": -1.0}}], r"phases\[0\] \(a\): optimizer.lr=-1.0: must be greater than 0"),
    "unknown": ([{"name": "a", "optimizer": {"rate": 1.0}}], r"phases\[0\] \(a\): unknown config key 'optimizer.rate'"),
    "spans": ([{"name": "a", "schedules": "all"}], r"phases\[0\].schedules='all': must be 'run' or 'phase'"),
    "name": ([{"steps": 8}], r"phases\[0\].name=None"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_phase_is_refused(case):
    phases, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        parse(load(f"{TOY}:plain").to_dict() | {"phases": phases}, ALLOW)


def test_phases_that_are_not_the_run_are_refused_with_their_steps():
    recipe = parse(load(TOY).to_dict() | {"phases": [{"name": "a", "steps": 3}, {"name": "b", "steps": 4}]}, ALLOW)
    with pytest.raises(UserError, match="phases: a 3, b 4 steps, in a run of 8"):
        borders(recipe, 64)


SGD = "({'name': 'small', 'steps': 4}, {'name': 'large', 'optimizer': {'name': 'sgd'}})"
MOVED = "({'name': 'small', 'steps': 5}, {'name': 'large', 'augment': {'size': 16}})"


def test_a_phase_that_does_not_fit_is_refused_before_the_first_step(tmp_path, capsys):
    assert train(tmp_path / "run", f"--config.phases={SGD}") == 2
    said = capsys.readouterr().err
    assert "phases: the state of one does not fit the next" in said
    assert "nu.encoder.embed.bias: before" in said
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_checkpoint_of_another_phase_is_refused(straight, tmp_path, capsys):
    workdir = shutil.copytree(straight, tmp_path / "run")
    assert train(workdir, f"--config.phases={MOVED}", "--allow-config-change", "phases") == 2
    said = capsys.readouterr().err
    assert "the checkpoint of step 8 is of the phase 'large', which began after step 4" in said
    assert "step 8 is in 'large', which begins after step 5" in said


def test_preview_plan_and_verify_take_a_phase_or_say_which_there_are(capsys):
    for command in ("preview", "plan", "verify"):
        assert (
            main([command, "--config", TOY, "--phase", "larg", *(["--devices", "1"] if command == "plan" else [])]) == 2
        )
        assert "--phase larg: there is none; did you mean 'large'? Phases: small, large" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "stage"), [("dinov2_vitl16_in1k", "high_resolution"), ("dinov3_vitl16_in1k", "gram")])
def test_the_shipped_phases_are_the_shipped_stages(name, stage):
    recipe, second = parse(load(f"{name}:phases")), parse(load(f"{name}:{stage}"))
    sections = ("model", "objective", "augment", "optimizer", "schedule", "data")
    first, last = stretches(recipe, 1_281_167)
    assert [getattr(last.recipe, key) for key in sections] == [getattr(second, key) for key in sections]
    assert [getattr(first.recipe, key) for key in sections] == [getattr(parse(load(name)), key) for key in sections]
    assert (last.end - last.first, last.recipe.steps(1)) == (second.total_steps, second.total_steps)
