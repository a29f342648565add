"""The corruptions: more at each severity, of any shape, of each example alone; JPEG against Pillow's."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.image.corruptions.digital import jpeg
from ssl_jax.data.image.corruptions.table import CORRUPTIONS, FAMILIES, corrupted
from ssl_jax.data.sources.embedded import Embedded
from ssl_jax.data.sources.shapes import Shapes
from ssl_jax.errors import UserError

SCENES = np.stack([Shapes(size=32)[i]["image"] for i in range(8)]).astype(np.float32) / 255
KEYS = jax.random.split(jax.random.key(0), 8)
CHEAP = ("impulse_noise", "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")


def all_severities(name, x, keys):
    return jax.jit(jax.vmap(lambda severity: CORRUPTIONS[name](x, keys, severity)))(jnp.arange(1, 6))


def check(name, x):
    found = np.asarray(all_severities(name, x, KEYS))
    assert found.shape == (5, *x.shape)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    error = np.sqrt(np.square(found - x).mean(axis=(1, 2, 3, 4)))
    assert error[0] > 0.01, error
    assert (np.diff(error) > 0).all(), error
    last = x[::-1]  # other neighbours, another place in the batch
    again = np.asarray(all_severities(name, last, KEYS[::-1]))[:, ::-1]
    np.testing.assert_allclose(again, found, atol=2e-5)


def test_there_are_fifteen_in_four_families():
    assert len(CORRUPTIONS) == sum(map(len, FAMILIES.values())) == 15
    for name in CORRUPTIONS:
        shape = jax.eval_shape(CORRUPTIONS[name], jnp.zeros((2, 20, 28, 1)), KEYS[:2], 3)
        assert (shape.shape, shape.dtype) == ((2, 20, 28, 1), jnp.float32), name


@pytest.mark.parametrize("name", CHEAP)
def test_each_severity_is_farther_from_the_picture_whatever_else_is_in_the_batch(name):
    check(name, SCENES)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CORRUPTIONS if n not in CHEAP])
def test_so_are_the_others(name):
    check(name, SCENES)


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_small_grey_pictures_too(name):
    check(name, Embedded("test", limit=8).batch(np.arange(8))["image"].astype(np.float32) / 255)


def test_there_is_no_severity_but_one_to_five_and_no_other_name():
    for severity in (0, 6):
        with pytest.raises(UserError, match="use 1"):
            corrupted("fog", SCENES, KEYS, severity)
    with pytest.raises(UserError, match="'rain' is unknown; use any of gaussian_noise"):
        corrupted("rain", SCENES, KEYS, 1)


def test_noise_has_the_size_that_its_table_says():
    grey = np.full((8, 32, 32, 3), 0.5, np.float32)
    noisy = np.asarray(corrupted("gaussian_noise", grey, KEYS, 1))
    assert noisy.std() == pytest.approx(0.08, rel=0.03)
    lost = np.asarray(corrupted("impulse_noise", grey, KEYS, 5))
    assert (lost == 1).mean() == pytest.approx(0.135, abs=0.01)
    assert (lost == 0).mean() == pytest.approx(0.135, abs=0.01)


@pytest.mark.parametrize("quality", [7, 25])
def test_jpeg_is_what_pillow_makes(quality):
    smooth = np.asarray(Image.fromarray((255 * SCENES[0]).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC))
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", quality=quality)
    theirs = np.asarray(Image.open(file), np.float32)
    ours = 255 * np.asarray(jpeg(smooth[None].astype(np.float32) / 255, quality))[0]
    damage = np.abs(theirs - smooth).mean()
    assert np.abs(ours - theirs).mean() < 0.2 * damage, (np.abs(ours - theirs).mean(), damage)
