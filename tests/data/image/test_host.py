"""Crops on the host: the boxes, the pixels and the statistics of the device, and of torchvision."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data import threefry
from ssl_jax.data.bad import BadRecords
from ssl_jax.data.cropped import cropped
from ssl_jax.data.image import ops, resize
from ssl_jax.data.image.boxes import BOX_DRAWS, random_box
from ssl_jax.data.image.host import resized_centre
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.pipeline import examples
from ssl_jax.data.sources import Arrays
from ssl_jax.errors import UserError
from ssl_jax.objectives.base import example_keys

GOLDENS = Path(__file__).parents[1] / "goldens"
ENTRY = next(e for e in json.loads((GOLDENS / "manifest.json").read_text()) if e["file"] == "aug_torchvision_ops.npz")
POLICY = {"count": 2, "size": 24, "scale": (0.1, 1.0), "flip": 0.5}
VIEWS = {
    "image": POLICY | {"interpolation": "bicubic", "grey": 0.2},
    "again": POLICY | {"like": "image", "size": 16},
    "whole": {"size": 20},
}
AUGMENT = ImageViews(24, (0.0,), (1 / 255,), VIEWS)  # so that views are in grey levels


def photos(count, height=48, width=48):
    """Smooth pictures, as photographs mostly are."""
    coarse = np.random.default_rng(0).uniform(0, 255, (count, 6, 8, 3))
    return np.array(jax.image.resize(coarse, (count, height, width, 3), "cubic")).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (48, 48, (0.08, 1.0), (3 / 4, 4 / 3)),
        (12, 30, (0.5, 1.0), (3 / 4, 4 / 3)),
        (375, 500, (0.992, 0.992), (1.0, 1.0)),
    ],
)
def test_boxes_of_the_same_draws_are_those_of_the_device(height, width, scale, ratio):
    """But where a side is a half before it is rounded: the device computes with 24 bits of it, the host with 53."""
    uniform = threefry.uniform(threefry.example_keys(0, np.zeros(2000, int), np.arange(2000)), BOX_DRAWS)
    device = np.stack(ops.random_boxes(jnp.asarray(uniform), height, width, scale, ratio), axis=1)
    host = np.array([random_box(draw, height, width, scale, ratio) for draw in uniform])
    assert np.mean(np.any(device != host, axis=1)) < 2e-3


def test_views_of_crops_from_the_host_are_those_of_the_device():
    """On pictures of one size, which the device can crop too. The host rounds crops to 8 bits."""
    source = Arrays({"image": photos(16), "label": np.arange(16)})
    ids, epochs = np.arange(16)[::-1], np.arange(16) % 3
    batch = examples(cropped(source, AUGMENT, "host", "antialias", 3), ids, epochs, BadRecords(0.0))
    sizes = {"image": (2, 24, 24, 3), "again": (2, 16, 16, 3), "whole": (1, 20, 20, 3)}
    assert {name: x.shape[1:] for name, x in batch.items() if x.dtype == np.uint8} == {
        f"image/{name}": size for name, size in sizes.items()
    }
    assert batch["label"].tolist() == batch["_id"].tolist() == ids.tolist()
    views = jax.jit(AUGMENT)
    keys = example_keys(3, jnp.asarray(epochs), jnp.asarray(ids))
    host = views(keys, {name: x for name, x in batch.items() if not name.startswith("_")})
    device = views(keys, {"image": source.columns["image"][ids]})
    for name in VIEWS:
        apart = np.abs(np.asarray(host[name]) - np.asarray(device[name]))
        assert apart.max() < 2, name  # rounded after each direction of the resizing
        assert apart.mean() < 0.4, name


def test_boxes_of_a_whole_picture_have_the_statistics_that_the_policy_says():
    """As torchvision draws them: uniform area, log-uniform ratio, uniform place. All of these fit at the first try."""
    uniform = threefry.uniform(threefry.example_keys(1, np.zeros(4000, int), np.arange(4000)), BOX_DRAWS)
    boxes = np.array([random_box(draw, 375, 500, (0.1, 0.4), (3 / 4, 4 / 3)) for draw in uniform])
    top, left, height, width = boxes.T
    for values, low, high in (
        (height * width / (375 * 500), 0.1, 0.4),
        (np.log(width / height), np.log(3 / 4), np.log(4 / 3)),
        ((top + 0.5) / (375 - height + 1), 0, 1),
        ((left + 0.5) / (500 - width + 1), 0, 1),
    ):
        quantiles = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0])
        np.testing.assert_allclose(quantiles, np.linspace(low, high, 5), atol=0.03 * (high - low))


@pytest.mark.parametrize("by", [resize.by_cykooz, resize.by_pillow])
def test_resizing_equals_torchvision_and_pillow(by):
    with np.load(GOLDENS / ENTRY["file"], allow_pickle=False) as arrays:
        x, expected = (255 * np.moveaxis(arrays[name], 0, -1) for name in ("x", "rrc_bicubic_aa"))
    box = ENTRY["config"]["resized_crop"]
    cut = np.rint(x).astype(np.uint8)[box["top"] :, box["left"] :][: box["height"], : box["width"]]
    found = by(np.ascontiguousarray(cut), tuple(box["size"]), box["interpolation"])
    assert np.abs(found - expected.clip(0, 255)).mean() < 0.6
    photo = photos(1, 60, 90)[0]
    for method, size in (("bilinear", (24, 24)), ("bicubic", (24, 80)), ("bilinear", (70, 50))):
        assert np.abs(by(photo, size, method).astype(int) - resize.by_pillow(photo, size, method)).max() <= 1
        assert by(photo[:, :, :1], size, method).shape == (*size, 1)
    many = np.concatenate([photo, photo, photo], axis=2)
    np.testing.assert_array_equal(
        resize.antialiased(many, (9, 9), "bilinear")[..., 3:6], resize.by_pillow(photo, (9, 9), "bilinear")
    )


def test_the_centre_has_the_shape_of_the_views_and_fast_is_near():
    photo = photos(1, 50, 70)[0]
    for size, box in (((20, 20), (0, 10, 50, 50)), ((30, 18), (0, 20, 50, 30)), ((25, 35), (0, 0, 50, 70))):
        expected = resize.resized(photo, box, size, "bilinear").astype(int)
        assert np.abs(resized_centre(photo, size, "bilinear") - expected).mean() < 0.5  # what is beyond the box counts
    box = (3, 5, 40, 60)
    fast, exact = (resize.resized(photo, box, (24, 24), "bilinear", mode).astype(int) for mode in ("fast", "antialias"))
    assert 0 < np.abs(fast - exact).mean() < 2


def test_what_cannot_be_cropped_on_the_host_is_refused_with_the_remedy(monkeypatch):
    floats = Arrays({"image": np.zeros((4, 9, 9, 1), np.float32)})
    source = cropped(floats, AUGMENT, "host", "antialias", 0)
    with pytest.raises(UserError, match=r"'image' is float32 \[9, 9, 1\]: set data\.crop=device"):
        examples(source, np.arange(2), np.zeros(2, int), BadRecords(0.0))
    with pytest.raises(UserError, match=r"object has no `host"):
        cropped(floats, object(), "host", "antialias", 0)
    monkeypatch.setattr(resize, "optional", lambda name: None)
    with pytest.raises(UserError, match=r"pip install ssl_jax\[image\]"):
        cropped(floats, AUGMENT, "host", "fast", 0)
    assert cropped(floats, object(), "device", "fast", 0) is floats
