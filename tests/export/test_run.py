"""`ssl-jax export`: the folder, its card, the program, and going on from it as from the run itself."""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.cli import main
from ssl_jax.data.bad import BadRecords
from ssl_jax.interop.importing import imported
from ssl_jax.interop.shapes import built
from ssl_jax.recipe import InitFrom, load, parse, to_json
from ssl_jax.training.init_from import initialised_from
from ssl_jax.training.records import records_of
from ssl_jax.training.reopen import open_run
from ssl_jax.training.run import batches_from, build
from ssl_jax.training.step import init_state, train_step

TOY = str(Path(__file__).parent / "toy_export.py")
ALLOW = ("toy_export",)
ACCURACY = {"probe": "linear", "title": "linear", "value": "accuracy", "unit": "percent"}
MEASURED = {
    "probe": "linear", "protocol": "by the book", "columns": [ACCURACY], "step": 2,
    "train": {"records": 60}, "test": {"records": 40},
    "rows": {"pretrained": {"accuracy": 0.625}, "random init": {"accuracy": 0.5}},
}  # fmt: skip


def export(workdir, out, *options):
    return main(["export", "--workdir", str(workdir), "--out", str(out), "--allow", TOY, *options])


@pytest.fixture(scope="module")
def setup():
    sys.path.insert(0, str(Path(TOY).parent))
    return build(parse(load(TOY), ALLOW), 64)


@pytest.fixture(scope="module")
def fresh(setup):
    batch = {"image": jnp.zeros((8, 28, 28, 1), jnp.uint8), "_id": jnp.arange(8), "_epoch": jnp.zeros(8, int)}
    return jax.jit(partial(init_state, setup))(batch)


@pytest.fixture(scope="module")
def run(setup, fresh, tmp_path_factory):
    """A run whose arrays are random, as its second step left them."""
    workdir, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    recipe, shaped = parse(load(TOY), ALLOW), lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype)
    (workdir / "config.json").write_text(to_json(load(TOY)))
    (workdir / "env.json").write_text(json.dumps({"run": "one", "data": "d1ge57", "records": 64}))
    (workdir / "eval").mkdir()
    (workdir / "eval" / "linear.json").write_text(json.dumps(MEASURED))
    records = records_of(recipe.data.pretrain.build(), BadRecords(0.0))
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = fresh._replace(params=jax.tree.map(shaped, fresh.params))
    checkpoints.save(2, state, {"run": "one", "records": records.to_meta()})
    checkpoints.finish()
    checkpoints.close()
    return workdir


@pytest.fixture(scope="module")
def ours(run):
    """The encoder as evaluation sees it, records, and their features."""
    opened = open_run(run, allow=ALLOW)
    chosen = opened.objective.encoders()["student"]
    records = {"image": np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)}
    variables = jax.device_get(chosen.variables(opened.state))
    return chosen, variables, records, np.asarray(chosen.features(variables, records))


def test_an_exported_encoder_is_the_runs_and_its_card_says_what_is_known(run, ours, tmp_path, capsys):
    chosen, variables, records, features = ours
    inputs = chosen.preprocess(records)["image"]
    for format in ("safetensors", "timm", "hf"):
        assert export(run, tmp_path / format, "--format", format) == 0
        found = imported(tmp_path / format)
        jax.tree.map(np.testing.assert_array_equal, found.variables, variables)
        assert found.pixels == {"mean": (0.3,), "std": (0.4,)}
    assert "note: features are read by model.cells=2, which timm_vit leaves to you" in capsys.readouterr().out
    own = imported(tmp_path / "safetensors")
    np.testing.assert_array_equal(built(own.model).apply(own.variables, inputs, method="features"), features)
    card = (tmp_path / "timm" / "README.md").read_text()
    for said in (
        "after step 2",
        "d1ge57",
        "license:  # fill in",
        "| pretrained | 62.5 % |",
        "by the book",
        "* features are read by",
    ):
        assert said in card, said
    assert json.loads((tmp_path / "timm" / "recipe.json").read_text())["batch_size"] == 8


def test_a_program_is_loaded_in_three_lines_and_computes_the_same(run, ours, tmp_path, monkeypatch):
    assert export(run, tmp_path, "--format", "stablehlo") == 0
    _, _, records, features = ours
    text = (tmp_path / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert len(text.splitlines()) == 3
    monkeypatch.chdir(tmp_path)
    names = {"records": records}
    exec(text, names)
    np.testing.assert_allclose(names["features"], features, rtol=1e-6, atol=1e-6)


def test_to_go_on_from_an_export_is_to_go_on_from_the_run(run, setup, fresh, tmp_path):
    assert export(run, tmp_path / "out", "--format", "timm") == 0
    recipe, step = parse(load(TOY), ALLOW), jax.jit(partial(train_step, setup))
    ways = {"run": InitFrom(workdir=str(run)), "export": InitFrom(weights=str(tmp_path / "out"))}
    losses = {}
    for name, way in ways.items():
        state = jax.device_put(initialised_from(way, setup.objective, fresh), jax.devices()[0])
        assert not np.array_equal(state.params["encoder"]["positions"], fresh.params["encoder"]["positions"])
        stream = batches_from(0, recipe, recipe.data.pretrain.build(), BadRecords(0.0))
        losses[name] = []
        for _ in range(4):
            state, metrics = step(state, {k: v for k, v in next(stream).items() if k != "label"})
            losses[name].append(float(metrics["loss"]))
    np.testing.assert_allclose(losses["export"], losses["run"], rtol=1e-5)


def test_what_cannot_be_exported_is_refused(run, tmp_path, capsys):
    refused = {
        ("--format", "onnx"): "--format onnx: known are safetensors, timm, hf, stablehlo",
        ("--encoder", "teacher"): "evaluate.encoder='teacher' is unknown to Twins; use student",
    }
    for options, message in refused.items():
        assert export(run, tmp_path / "out", *options) == 2
        assert message in capsys.readouterr().err
    assert export(run, run) == 2
    assert "is a run directory; name another folder" in capsys.readouterr().err
    assert main(["export", "--workdir", str(run)]) == 2
    assert "export needs --out FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_language_model_goes_on_from_its_export_as_from_its_run(tmp_path):
    """GPT's last layer is its table of words, so that the export is all that was learned."""
    run, out = tmp_path / "run", tmp_path / "out"
    train = ["train", "--config", "causal_gpt_wordnet:tiny", "--config.log.every_steps=1"]
    assert main([*train, "--workdir", str(run)]) == 0
    assert main(["export", "--workdir", str(run), "--format", "hf", "--out", str(out)]) == 0
    losses = {}
    for name, way in {"run": f"workdir={run}", "export": f"weights={out}", "nothing": "workdir="}.items():
        words = [*train, f"--config.init_from.{way}", "--config.seed=1", "--workdir", str(tmp_path / f"from_{name}")]
        assert main(words) == 0
        lines = map(json.loads, (tmp_path / f"from_{name}" / "metrics.jsonl").read_text().splitlines())
        losses[name] = [line["loss"] for line in lines if "loss" in line]
    np.testing.assert_allclose(losses["export"], losses["run"], rtol=1e-5)
    assert losses["nothing"][0] > losses["run"][0]
