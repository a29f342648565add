"""`ssl_jax.load` and `ssl-jax embed` give what `ssl-jax eval` has, to the last bit; a live run is followed."""

import subprocess
import sys
from contextlib import closing
from functools import partial

import jax
import numpy as np
import pytest

import ssl_jax
from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.cli import main
from ssl_jax.data.bad import BadRecords
from ssl_jax.errors import UserError
from ssl_jax.evaluate import follow
from ssl_jax.evaluate.encoders import encoder_from
from ssl_jax.evaluate.features import extract, extract_readings
from ssl_jax.evaluate.readings import OWN, Reading
from ssl_jax.evaluate.run import Asked
from ssl_jax.evaluate.spec import run_and_names, spec_of
from ssl_jax.recipe import load, parse, to_json
from ssl_jax.training.run import batch_like, build
from ssl_jax.training.step import init_state

SMALL = ("--config.model.depth=2", "--config.model.width=32", "--config.model.heads=2", "--config.batch_size=16")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with the checkpoint of an untrained network."""
    folder = tmp_path_factory.mktemp("runs") / "x"
    config = load("mae_vit_fashion:tiny", SMALL)
    recipe = parse(config)
    source = recipe.data.pretrain.build()
    zeros = {k: np.zeros(x.shape, x.dtype) for k, x in batch_like(source, 16, BadRecords(0.0)).items()}
    folder.mkdir()
    (folder / "config.json").write_text(to_json(config))
    with closing(Checkpoints(folder / "checkpoints")) as saved:
        state = jax.jit(partial(init_state, build(recipe, len(source))))(zeros)
        saved.save(0, state, {"recipe": to_json(config), "cursor": 0, "records": {"count": 500, "fields": {
            "image": {"shape": [28, 28, 1], "dtype": "uint8"}, "label": {"shape": [], "dtype": "int32"}}}})  # fmt: skip
        saved.finish()
    return folder


def test_load_and_embed_agree_with_the_features_of_eval_to_the_last_bit(run, tmp_path):
    found = encoder_from(run)
    test = found.opened.recipe.data.test.build()
    images = np.stack([test[i]["image"] for i in range(len(test))])
    with jax.set_mesh(found.opened.mesh):
        evaluated = extract(found.encoder, found.variables, test)

    encode = ssl_jax.load(run)
    features = encode(images)

    np.testing.assert_array_equal(features, evaluated.x)
    first = np.moveaxis(images, -1, 1)
    np.testing.assert_array_equal(encode(first, channels="first"), features)
    np.testing.assert_array_equal(encode(images[..., 0]), features)
    np.testing.assert_allclose(encode(images[0] / 255.0), features[0], atol=1e-5)
    out = tmp_path / "features.npz"
    assert main(["embed", "--workdir", str(run), "test", "--out", str(out), "--reading", "own,mean@-2"]) == 0
    with np.load(out) as embedded:
        np.testing.assert_array_equal(embedded["features"], features)
        np.testing.assert_array_equal(embedded["label"], evaluated.y)
        assert embedded["mean@-2"].shape == (len(test), 32)
        assert list(embedded["id"]) == list(range(len(test)))
    assert not out.with_name("features.npz.parts").exists()


def test_layers_are_read_beside_the_own_features_in_one_pass(run):
    found = encoder_from(run)
    source = found.opened.recipe.data.test.build()
    wanted = (OWN, Reading("mean"), Reading("tokens"), Reading("mean", -2), Reading("mean", -9))
    with jax.set_mesh(found.opened.mesh):
        made = extract_readings({"x": (found.encoder, found.variables)}, source, wanted)
    assert [reading for _, reading in made] == sorted(wanted[:4])
    tokens = made["x", Reading("tokens")]
    assert tokens.x.shape == (len(source), np.prod(tokens.grid), 32)
    np.testing.assert_allclose(tokens.x.mean(1), made["x", Reading("mean")].x, atol=1e-5)
    assert np.abs(made["x", Reading("mean")].x - made["x", Reading("mean", -2)].x).max() > 0.1


def test_to_import_the_package_is_light():
    code = "import sys, ssl_jax; sys.exit('jax' in sys.modules or 'flax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("images", "options", "said"),
    [
        (np.zeros((2, 28, 28, 1), np.int64), {}, "give uint8"),
        (np.full((2, 28, 28, 1), 255.0), {}, "lie in"),
        (np.zeros((2, 28, 28, 3), np.uint8), {}, "takes"),
        (np.zeros((2, 28, 28, 1), np.uint8), {"channels": "middle"}, "use one of last, first"),
    ],
)
def test_what_is_no_image_is_refused(run, images, options, said):
    with pytest.raises(UserError, match=said):
        ssl_jax.load(run)(images, **options)


def test_a_word_names_an_encoder_or_a_run(run):
    assert spec_of("teacher") == (None, "teacher")
    assert spec_of("runs/x:teacher") == ("runs/x", "teacher")
    assert spec_of(str(run)) == (str(run), None)
    assert run_and_names(None, ["runs/x:teacher", "student"]) == ("runs/x", "teacher,student")
    assert run_and_names("runs/x", None) == ("runs/x", None)
    for given in (("runs/x", ["runs/y"]), (None, ["teacher"])):
        with pytest.raises(UserError, match="name one run"):
            run_and_names(*given)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "f.txt"), "use one of .parquet, .npz, .npy"),
        (("--out", "f.npy", "--reading", "own,mean"), "one array"),
        (("--out", "f.npz", "--reading", "class@-9"), "cannot give it"),
        (("--out", "f.npz", "--encoder", "teacher"), "unknown"),
    ],
)
def test_embed_refuses_before_the_work(run, words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["embed", "--workdir", str(run), "test", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_live_run_is_followed_to_its_end(monkeypatch, tmp_path):
    steps, active = iter([[], [1], [1, 2], [2, 3], [3], [3]]), iter([True, True, True, True, False, False])
    now = {"steps": []}
    monkeypatch.setattr(follow, "is_active", lambda folder: next(active))
    monkeypatch.setattr(
        follow, "saved_steps", lambda folder: now.update(steps=next(steps, now["steps"])) or now["steps"]
    )
    seen = []
    evaluate = lambda step, asked: seen.append((step, asked.baselines)) or f"table {step}"  # noqa: E731
    assert follow._followed(tmp_path, Asked(), evaluate, poll=0.0) == "table 3"
    assert seen == [(1, ()), (2, ()), (3, ()), (3, None)]
