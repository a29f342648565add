"""The preview shows what training will see, not something like it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.panels import Pictures
from ssl_jax.data.pipeline import batches
from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Objective
from ssl_jax.recipe import load, parse
from ssl_jax.report.preview import first_views, panels_of, preview, with_ids
from ssl_jax.training.step import Setup, TrainState


@dataclass(frozen=True)
class Noise:
    """An augmentation in miniature: the record plus noise of its key."""

    inputs = ("image",)

    def __call__(self, keys, batch):
        draw = jax.vmap(lambda k: jax.random.uniform(k, (2, *batch["image"].shape[1:])))
        return {"image": batch["image"][:, None] / 255.0 + draw(keys)}

    def evaluation(self, batch, policy=""):
        return {"image": batch["image"] / 255.0}

    def plain(self, batch):
        return self.evaluation(batch)["image"].reshape(len(batch["image"]), -1)

    def panel(self, views):
        return {"image": Pictures(views["image"] / 2, ("a", "b"))} if "image" in views else {}


@dataclass(frozen=True)
class Plain(Objective):
    """Views of a record, and a mask that the batch shares. It draws nothing itself."""

    def views(self, keys, batch, progress):
        shared = jax.random.bernoulli(keys.step, 0.5, (5,))
        return self.augment(keys.example, batch) | {"mask": jnp.tile(shared, (len(batch["image"]), 1))}


@dataclass(frozen=True)
class Words(Objective):
    """An objective on tokens: nothing to look at."""

    def views(self, keys, batch, progress):
        return {"tokens": jnp.zeros((len(batch["image"]), 7), jnp.int32)}


class Source:
    """40 images of 4 x 4."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return {"image": np.full((4, 4, 1), index, np.uint8)}

    def fingerprint(self):
        return "0"


def setup_of(kind):
    return Setup(kind(None, Noise()), None, seed=3, total_steps=5)


@pytest.fixture
def recipe():
    return parse(load("mae_vit_fashion:tiny", ["--config.seed=3", "--config.batch_size=16"]))


def test_views_are_bit_for_bit_those_of_step_0_of_the_whole_batch(recipe):
    setup, zero = setup_of(Plain), jnp.zeros((), jnp.int32)
    batch = next(batches(Source(), seed=3, batch_size=16))
    trained, _ = jax.jit(setup.views)(TrainState(zero, zero, zero, {}, {}, ()), batch)
    views, ids = first_views(recipe, setup, Source())
    np.testing.assert_array_equal(ids, batch["_id"][:8])
    for name in ("image", "mask"):
        np.testing.assert_array_equal(views[name], trained[name][:8])


def test_the_augment_draws_where_the_objective_draws_nothing():
    objective = setup_of(Plain).objective
    panels = panels_of(objective, {"image": jnp.ones((2, 2, 4, 4, 1)), "noise": jnp.ones((2, 5))})
    assert list(panels) == ["image"]
    np.testing.assert_array_equal(panels["image"].rows, 0.5)
    assert panels_of(Plain(None, object()), {"image": jnp.ones((2, 2, 4, 4, 1))}) == {}, "no augment draws by itself"


def test_preview_writes_one_png_also_into_a_new_folder(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_jax.training.run.build", lambda recipe, count: setup_of(Plain))
    out = preview(recipe, tmp_path / "new" / "views.png")
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 100


def test_an_objective_without_pictures_is_told_by_its_views(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_jax.training.run.build", lambda recipe, count: setup_of(Words))
    with pytest.raises(UserError, match=r"Words has nothing to draw.*tokens int32\[8, 7\]"):
        preview(recipe, tmp_path / "views.png")


def test_a_file_that_cannot_be_written_is_told(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_jax.training.run.build", lambda recipe, count: setup_of(Plain))
    with pytest.raises(UserError, match="cannot be written"):
        preview(recipe, tmp_path)


def test_each_row_names_its_record():
    panel = Pictures(np.zeros((2, 3, 8, 8, 1)), ("a", "b", "c"))
    assert np.asarray(with_ids(panel, [7, 8])).tobytes() != np.asarray(with_ids(panel, [7, 9])).tobytes()
