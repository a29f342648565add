"""`ImageViews`: one example, one set of views, wherever it is; normalisation; evaluation; what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax.data.image.presets import PRESETS, preset
from ssl_jax.data.image.views import ImageViews, panel_of_views
from ssl_jax.errors import UserError

FULL = {"count": 2, "scale": (0.2, 1.0), "flip": 0.5, "jitter": (0.4, 0.4, 0.4, 0.1), "grey": 0.2, "blur": 0.5}
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 20, 20, 3), dtype=np.uint8)
KEYS = jax.random.split(jax.random.key(0), 16)


def image_views(views=None, **options):
    defaults = {"size": 16, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    return ImageViews(**(defaults | options), views={"image": FULL} if views is None else views)


@pytest.fixture(scope="module")
def augment():
    return jax.jit(image_views())


@pytest.fixture(scope="module")
def views(augment):
    return augment(KEYS, {"image": IMAGES})["image"]


def test_views_are_normalised_float32_by_example_and_view(views):
    assert views.shape == (16, 2, 16, 16, 3)
    assert views.dtype == jnp.float32
    pixels = views * jnp.array([0.2, 0.3, 0.4]) + jnp.array([0.4, 0.5, 0.6])
    assert pixels.min() >= -1e-5
    assert pixels.max() <= 1 + 1e-5
    np.testing.assert_allclose(image_views().denormalise(views), pixels, atol=1e-5)


def test_an_example_looks_the_same_at_any_place_beside_any_others(augment, views):
    order = np.random.default_rng(1).permutation(16)
    np.testing.assert_array_equal(augment(KEYS[order], {"image": IMAGES[order]})["image"], views[order])
    others = IMAGES.copy()
    others[1:] = 0
    np.testing.assert_array_equal(augment(KEYS, {"image": others})["image"][0], views[0])


def test_eight_devices_draw_what_one_draws_and_do_not_talk(views):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    keys, images = jax.device_put(KEYS, sharding), jax.device_put(IMAGES, sharding)
    compiled = jax.jit(image_views(), out_shardings=sharding).lower(keys, {"image": images}).compile()
    np.testing.assert_allclose(compiled(keys, {"image": images})["image"], views, atol=1e-5)
    text = compiled.as_text()
    assert not [c for c in ("all-gather", "all-reduce", "all-to-all", "collective-permute") if c in text]


def test_adding_policies_and_views_changes_no_draw_of_the_others():
    crops = {"scale": (0.2, 1.0), "size": 8}
    few, more = image_views({"b": crops}), image_views({"a": crops, "b": crops | {"count": 2}})
    few, more = jax.jit(lambda keys, batch: (few(keys, batch), more(keys, batch)))(KEYS, {"image": IMAGES})
    assert more["b"].shape == (16, 2, 8, 8, 3)
    np.testing.assert_allclose(more["b"][:, :1], few["b"], atol=1e-6)
    for other in (more["a"], more["b"][:, 1:]):
        assert (jnp.abs(other - few["b"]).max(axis=(1, 2, 3, 4)) > 0.01).all()


def test_a_policy_without_options_only_normalises():
    augment = image_views({"image": {}}, size=20)
    floats = (IMAGES / 255.0).astype(np.float32)
    pixels = (floats - augment.mean) / augment.std

    @jax.jit
    def outputs(keys, bytes_, floats):
        evaluated = augment.evaluation({"image": bytes_})["image"]
        views = augment(keys, {"image": bytes_})["image"][:, 0]
        return views, evaluated, augment.evaluation({"image": floats})["image"], augment.denormalise(evaluated)

    *normalised, back = outputs(KEYS, IMAGES, floats)
    for ours in normalised:
        np.testing.assert_allclose(ours, pixels, atol=1e-5)
    np.testing.assert_allclose(back, floats, atol=1e-6)


def test_evaluation_takes_the_centre_at_the_evaluation_size():
    @jax.jit
    def outputs(wide, ramp):
        whole, cut = ImageViews(16, (0,), (1,), views), ImageViews(35, (0,), (1,), views, crop_fraction=0.875)
        return whole.evaluation({"image": wide})["image"], cut.evaluation({"image": ramp})["image"]

    views = {"image": {}}
    wide = np.zeros((1, 40, 80, 1), np.uint8)
    wide[:, :, 20:60] = 255
    ramp = np.tile(np.arange(40, dtype=np.float32)[None, :, None, None] / 40, (1, 1, 40, 1))
    whole, cut = outputs(wide, ramp)
    assert whole.shape == (1, 16, 16, 1)
    np.testing.assert_allclose(whole[:, :, 1:-1], 1.0, atol=1e-5)
    np.testing.assert_allclose(cut, ramp[:, 2:37, 2:37], atol=1e-6)


def test_it_is_a_value_that_can_be_hashed_compared_and_changed():
    from ml_collections import ConfigDict

    options = {"size": 16, "mean": [0.5], "std": [0.5], "views": {"image": {"scale": [0.2, 1.0]}}}
    ours = ImageViews(**options)
    assert ours == ImageViews(**ConfigDict(options))
    assert hash(ours) == hash(ImageViews(**options))
    assert replace(ours, crop_fraction=0.875).views == ours.views


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_policies(name):
    count = PRESETS[name]["count"]
    augment = image_views({"image": preset(name, 16, flip=0.25)})
    shapes = jax.eval_shape(augment, KEYS, {"image": IMAGES})
    assert shapes["image"].shape == (16, count, 16, 16, 3)
    assert dict(augment.views)["image"].flip == 0.25
    assert dict(image_views({"image": preset(name, 16)}).views)["image"].count == count


def test_panel_has_a_column_for_each_view(views):
    panel = panel_of_views(views, image_views().denormalise, note="as trained")
    assert panel.captions == ("view 1", "view 2")
    assert panel.rows.shape == views.shape
    assert panel.rows.min() >= 0
    assert panel.rows.max() <= 1
    assert panel.note == "as trained"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "augment.size=0"),
        ({"std": (0.2, 0.0, 0.4)}, "std above 0"),
        ({"mean": ()}, "augment.mean"),
        ({"views": {}}, "augment.views is empty"),
        ({"crop_fraction": 1.5}, "augment.crop_fraction=1.5"),
        ({"interpolation": "lanczos"}, "augment.interpolation='lanczos'"),
        ({"views": {"image": {"flipp": 0.5}}}, "augment.views.image has no option 'flipp'; did you mean 'flip'"),
        ({"views": {"image": {"flip": 2}}}, "augment.views.image.flip=2"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_options_are_refused_with_a_remedy(options, message):
    with pytest.raises(UserError, match=message):
        image_views(**options)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"pixels": IMAGES}, r"no field 'image', only \['pixels'\]"),
        ({"image": IMAGES[..., 0]}, "add|last axis"),
        ({"image": IMAGES[..., :2]}, "3 values for images of 2 channels"),
        ({"image": IMAGES.astype(np.int32)}, "int32"),
    ],
)
def test_bad_batches_are_refused_with_a_remedy(batch, message):
    with pytest.raises(UserError, match=message):
        image_views().evaluation(batch)


def test_unknown_preset_is_refused_with_a_guess():
    with pytest.raises(UserError, match="did you mean 'simclr'"):
        preset("simcl", 28)


def test_plain_numbers_are_the_pixels_of_the_evaluation_view_and_a_panel_shows_every_size():
    augment, batch = image_views(size=20), {"image": IMAGES[:2]}
    seen = np.asarray(augment.evaluation(batch)["image"])
    np.testing.assert_array_equal(augment.plain(batch), seen.reshape(2, -1))
    shapes = {"image": (2, 2, 4, 4, 3), "local": (2, 3, 2, 2, 3), "mask": (2, 2, 4)}
    views = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    shown = {name: panel.captions for name, panel in augment.panel(views).items()}
    assert shown == {"views": ("view 1", "view 2"), "local": ("view 1", "view 2", "view 3")}


@pytest.mark.parametrize(
    ("shape", "refused"),
    [
        ((1, 28, 28), True),
        ((3, 32, 48), True),
        ((12, 64, 64), True),
        ((28, 28, 1), False),
        ((4, 4, 8), False),
        ((40, 40, 40), False),
    ],
)
def test_channels_in_front_are_refused(shape, refused):
    views = ImageViews(16, (0.5,), (0.25,), {"image": {"count": 1}})
    batch = {"image": jnp.zeros((2, *shape), jnp.uint8)}
    if refused:
        with pytest.raises(UserError, match=r"channels come last: np.moveaxis\(images, 1, -1\)"):
            jax.eval_shape(views.evaluation, batch)
    else:
        jax.eval_shape(views.evaluation, batch)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.linspace(0, 255, 48, dtype=np.float32), "float32 from 0 to 255"),
        (np.linspace(-1, 1, 48), r"float64 from -1 to 1.*pixels=\(-1, 1\)"),
        (np.linspace(0, 1, 48), None),
        (np.linspace(-0.002, 1.003, 48), None),  # resampled
        (np.full(48, np.nan), None),  # no range, but a loss that is not finite
        (np.full(48, 255, np.uint8), None),
    ],
)
def test_floats_that_would_be_clipped_are_refused_with_what_was_found(image, told):
    views = ImageViews(4, (0.5,), (0.25,), {"image": {"count": 1}})
    records = [{"image": np.zeros((4, 4, 3), image.dtype)}, {"image": image.reshape(4, 4, 3)}]
    if told is None:
        views.check(records)
    else:
        with pytest.raises(UserError, match=told):
            views.check(records)


def test_sixteen_bits_are_a_range_of_their_own():
    views = ImageViews(4, (0.0,), (1.0,), {"image": {"count": 1}})
    image = np.full((1, 4, 4, 1), 32768, np.uint16)
    np.testing.assert_allclose(views.evaluation({"image": image})["image"], 32768 / 65535, rtol=1e-6)
