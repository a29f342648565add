"""Several labels in one probe, on clips and on their frames one by one, which say nothing of the order of time."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes.labels import Probe
from ssl_jax.evaluate.probes.linear import Probe as Linear
from ssl_jax.evaluate.readings import FRAMES, OWN, read
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Encoder

VIT = ViT(16, 1, 2, 32, (2, 4, 4), class_token=False, remat="none")


def encoder(module, name):
    return Encoder(module, ("params", "encoder"), (name,), lambda batch: {name: batch[name]})


def test_frames_one_by_one_are_the_same_in_any_order():
    clips = np.random.default_rng(0).standard_normal((3, 6, 8, 8, 1)).astype(np.float32)
    variables = jax.jit(partial(VIT.init, method="features"))(jax.random.key(0), clips)
    given = jax.jit(lambda clip: read(encoder(VIT, "clip"), variables, {"clip": clip}, (OWN, FRAMES)))
    forwards, backwards = given(clips), given(clips[:, ::-1])
    np.testing.assert_allclose(forwards[FRAMES], backwards[FRAMES], atol=1e-5)
    assert abs(forwards[OWN] - backwards[OWN]).max() > 1e-2
    alone = jax.jit(partial(VIT.apply, method="features"))(variables, jnp.repeat(clips[:, 4:5], 2, axis=1))
    repeated = given(np.repeat(clips[:, 4:5], 6, axis=1))
    np.testing.assert_allclose(repeated[FRAMES], alone, atol=1e-5)


def test_only_encoders_of_clips_give_them():
    flat = ViT(16, 1, 2, 32, 4, class_token=False, remat="none")
    images = np.zeros((2, 8, 8, 1), np.float32)
    variables = jax.eval_shape(lambda: flat.init(jax.random.key(0), images, method="features"))
    shapes = jax.eval_shape(lambda v: read(encoder(flat, "image"), v, {"image": images}, (OWN, FRAMES)), variables)
    assert set(shapes) == {OWN}


def part(seed):
    rng = np.random.default_rng(seed)
    way, kind = rng.integers(0, 2, 200).astype(np.int32), rng.integers(0, 3, 200).astype(np.int32)
    x = np.concatenate([np.eye(3)[kind], np.eye(2)[way]], axis=1) + 0.3 * rng.standard_normal((200, 5))
    return Features(x.astype(np.float32), way, np.arange(200), fields={"way": way, "kind": kind})


def test_each_label_is_what_the_linear_probe_has_of_it():
    whole = Split(part(0), part(1), 2)
    still = Split(*(p._replace(x=p.x[:, :3]) for p in (whole.train, whole.test)), 2)
    split = replace(whole, readings={FRAMES: still})
    found, frames = Probe(("way", "kind")).run(split), Probe(("way",), "frames").run(split)
    assert found["way"] == Linear().run(split)["accuracy"] > 0.9
    assert found["kind"] > 0.9
    assert frames["way"] < 0.65
    assert found["intervals"]["way"][0] <= found["way"] <= found["intervals"]["way"][1]
    titles = [column["title"] for column in (*Probe(("way",)).columns, *Probe(("way",), "frames").columns)]
    assert titles == ["way", "way (frames)"]
