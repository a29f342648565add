"""Towers that start from public weights, or from other runs."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict
from safetensors.numpy import save_file

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.pairs import Together
from ssl_jax.data.text.views import TextViews
from ssl_jax.errors import UserError
from ssl_jax.interop.importing import imported
from ssl_jax.interop.shapes import built
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.clip import CLIP
from ssl_jax.objectives.siglip import SigLIP
from ssl_jax.recipe import InitFrom
from ssl_jax.training.init_from import initialised_from
from ssl_jax.training.step import Setup, init_state

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"
SIGNS = {"clip": {"pad": 49, "end": 49}, "siglip": {"pad": 1}}


def folder(name, path):
    """A folder as transformers writes it, of the tensors of a golden."""
    entry = next(e for e in json.loads((GOLDENS / "manifest.json").read_text()) if e["file"] == f"{name}.npz")
    with np.load(GOLDENS / entry["file"]) as file:
        tensors = {key[2:]: np.ascontiguousarray(file[key]) for key in file.files if key.startswith("w/")}
    path.mkdir(exist_ok=True)
    save_file(tensors, path / "model.safetensors")
    config = {"model_type": name, "vision_config": entry["config"]["vision"], "text_config": entry["config"]["text"]}
    (path / "config.json").write_text(json.dumps(config))
    return str(path), tensors


def setup_of(name, method, path, tokenizer="", **options):
    towers = {kind: built(imported(path, kind=of).model) for kind, of in (("image", ViT), ("text", TextTransformer))}
    text = TextViews({"size": 50} | SIGNS[name], tokenizer=tokenizer, padding=name == "siglip")
    parts = {"image": ImageViews(32, (0.5,), (0.5,), {"image": {}}), "text": text}
    objective = method(FrozenDict(towers), Together(parts), **options)
    setup = Setup(objective, optax.sgd(0.1), 0, 10)
    batch = {"image": np.zeros((4, 32, 32, 3), np.uint8), "tokens": np.ones((4, 10), np.int32)}
    shapes = jax.eval_shape(partial(init_state, setup), batch | {"_id": np.arange(4), "_epoch": np.zeros(4, int)})
    return objective, jax.tree.map(lambda x: jnp.full(x.shape, 7, x.dtype), shapes)


@pytest.mark.parametrize(("name", "method", "options"), [
    ("clip", CLIP, {"out": 24}), ("siglip", SigLIP, {"out": 32, "bias": True, "bare": ("image",)}),
])  # fmt: skip
def test_one_file_fills_both_towers_their_heads_and_the_scale(name, method, options, tmp_path, caplog):
    path, tensors = folder(name, tmp_path / name)
    objective, fresh = setup_of(name, method, path, **options)
    with caplog.at_level("INFO"):
        state = initialised_from(InitFrom(weights=path), objective, fresh)
    assert not any(np.any(x == 7) for x in jax.tree.leaves((state.params["image"], state.params["text"])))
    np.testing.assert_array_equal(
        state.params["text"]["tokens"]["embedding"], tensors["text_model.embeddings.token_embedding.weight"]
    )
    head = "text_projection.weight" if name == "clip" else "text_model.head.weight"
    np.testing.assert_array_equal(state.params["text_head"]["dense_out"]["kernel"], tensors[head].T)
    assert float(state.params["logit"]["image_text"]["scale"]) == tensors["logit_scale"].reshape(())
    assert "heads taken" in caplog.text
    narrow, fresh = setup_of(name, method, path, **options | {"out": 32, "bare": (), "hidden": (5,)})
    state = initialised_from(InitFrom(weights=path), narrow, fresh)  # heads of other sizes start anew
    assert np.all(state.params["image_head"]["dense_out"]["kernel"] == 7)


def test_each_tower_may_start_from_its_own_and_one_alone(tmp_path):
    path, _ = folder("clip", tmp_path / "clip")
    objective, fresh = setup_of("clip", CLIP, path, out=24)
    state = initialised_from(InitFrom(towers=(f"text={path}",)), objective, fresh)
    assert np.all(state.params["image"]["class_token"] == 7)
    assert not np.any(state.params["text"]["tokens"]["embedding"] == 7)
    for towers, said in (
        ((f"texts={path}",), "no such encoder; use one of image, text, image_head"),
        (("text=x",), "x: no such file or folder of weights"),
        (("text",), "must be name=path"),
    ):
        with pytest.raises(UserError, match=said):
            initialised_from(InitFrom(towers=towers), objective, fresh)


def test_a_tower_takes_the_encoder_of_a_run_of_another_method(tmp_path):
    path, _ = folder("clip", tmp_path / "clip")
    objective, fresh = setup_of("clip", CLIP, path, out=24)
    encoder = jax.tree.map(lambda x: np.full(x.shape, 3, x.dtype), fresh.params["image"])
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    saved = fresh._replace(params={"encoder": encoder}, extra={}, opt_state=())
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    checkpoints.save(0, saved, {})
    checkpoints.close()
    state = initialised_from(InitFrom(towers=(f"image={tmp_path / 'run'}",)), objective, fresh)
    assert all(np.all(x == 3) for x in jax.tree.leaves(state.params["image"]))
    assert np.all(state.params["text"]["tokens"]["embedding"] == 7)


def test_a_tokenizer_that_does_not_fit_the_weights_is_refused(tmp_path):
    path, _ = folder("clip", tmp_path / "clip")
    for where, words in ((tmp_path / "clip", ("a", "b")), (tmp_path, ("b", "a"))):
        tokens = {word: i for i, word in enumerate(words)}
        (where / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordLevel", "vocab": tokens}}))
    objective, fresh = setup_of("clip", CLIP, path, str(tmp_path / "tokenizer.json"), out=24)
    with pytest.raises(
        UserError, match=r"these weights read the tokens of .*clip/tokenizer.json, and augment's tokenizer is"
    ):
        initialised_from(InitFrom(weights=path), objective, fresh)
    objective, fresh = setup_of("clip", CLIP, path, str(tmp_path / "clip" / "tokenizer.json"), out=24)
    initialised_from(InitFrom(weights=path), objective, fresh)
