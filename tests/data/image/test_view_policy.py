"""What a policy draws: its distributions, its independence, and what it does not compute."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.image import ops
from ssl_jax.data.image.view_policy import DRAWS, SLICES, ViewPolicy
from ssl_jax.errors import UserError

MANY, FEW = 4000, 16
PIXELS = np.random.default_rng(0).random((FEW, 12, 12, 3), dtype=np.float32)
CROP, CROP_AND_MORE = {"scale": (0.2, 1.0)}, {"scale": (0.2, 1.0), "flip": 1.0, "solarize": 1.0}


def keys_for(images, policy):
    return jax.random.split(jax.random.key(0), (len(images), policy.count))


def draw(cases):
    """The views of each (options, images), in one program."""
    policies = {name: ViewPolicy(**options) for name, (options, _) in cases.items()}
    views = jax.jit(lambda cases: {n: p(keys_for(cases[n], p), cases[n]) for n, p in policies.items()})
    return {n: np.asarray(v) for n, v in views({n: images for n, (_, images) in cases.items()}).items()}


def constant(image, count=MANY):
    image = np.asarray(image, np.float32)
    return np.broadcast_to(image, (count, *image.shape))


@pytest.fixture(scope="module")
def drawn():
    ramp = np.stack(np.meshgrid(np.arange(64), np.arange(64), indexing="ij"), axis=-1) / 64
    dot = np.pad(np.ones((1, 1, 1)), ((4, 4), (4, 4), (0, 0)))
    full = {"count": 2, "jitter": (0.8, 0.8, 0.8, 0.2), "grey": 0.5, "solarize": 0.5, "flip": 0.5}
    return draw(
        {
            "flip": ({"count": 3, "flip": (0.0, 0.25, 1.0)}, constant([[[0.0], [1.0]]])),
            "brightness": ({"jitter": (0.8, 0, 0, 0)}, constant([[[0.4]]])),
            "contrast": ({"jitter": (0, 0.6, 0, 0)}, constant([[[0.45], [0.55]]])),
            "additive": ({"jitter": (0.4, 0, 0, 0), "jitter_backend": "tf"}, constant([[[0.5]]])),
            "at times": ({"jitter": (0.8, 0, 0, 0), "jitter_prob": 0.3}, constant([[[0.4]]])),
            "hue": ({"jitter": (0, 0, 0, 0.1)}, constant([[[0.5, 0.0, 0.0]]])),
            "box": ({"scale": (0.3, 0.3), "ratio": (1.0, 1.0), "size": 8}, constant(ramp, 500)),
            "translate": ({"translate": 2}, constant(dot, 500)),
            "crop": (CROP, PIXELS),
            "crop and more": (CROP_AND_MORE, PIXELS),
            "bicubic": ({"scale": (0.2, 1.0), "interpolation": "bicubic"}, np.round(PIXELS)),
            "1 channel": (full | {"size": (6, 8)}, PIXELS[..., :1]),
            "3 channels": (full | {"size": (6, 8)}, PIXELS),
            "4 channels": (full | {"size": (6, 8)}, np.concatenate([PIXELS, PIXELS[..., :1]], axis=-1)),
        }
    )


def assert_uniform(values, low, high):
    quantiles = np.quantile(values, np.linspace(0, 1, 5))
    np.testing.assert_allclose(quantiles, np.linspace(low, high, 5), atol=0.03 * (high - low))


def test_flip_rate_is_the_probability_of_each_view(drawn):
    np.testing.assert_allclose(drawn["flip"][:, :, 0, 0, 0].mean(axis=0), [0.0, 0.25, 1.0], atol=0.03)


def test_brightness_and_contrast_factors_are_uniform_around_one(drawn):
    assert_uniform(drawn["brightness"].ravel() / 0.4, 0.2, 1.8)
    assert_uniform(np.ptp(drawn["contrast"], axis=(1, 2, 3, 4)) / 0.1, 0.4, 1.6)


def test_additive_brightness_and_hue_are_uniform_around_zero(drawn):
    assert_uniform(drawn["additive"].ravel() - 0.5, -0.4, 0.4)
    _, green, blue = np.moveaxis(drawn["hue"], -1, 0)  # red turns to yellow or to pink, never to both
    assert_uniform((green - blue).ravel() / 0.5 / 6, -0.1, 0.1)


def test_jitter_is_left_out_with_its_probability(drawn):
    np.testing.assert_allclose(np.mean(drawn["at times"] == np.float32(0.4)), 0.7, atol=0.03)


def test_crop_has_its_area_and_any_place(drawn):
    box = drawn["box"][:, 0]  # of pixels that hold their own place; side 35 of 64, sampled at 8 centres
    side = np.ptp(box, axis=(1, 2)) * 8 / 7
    np.testing.assert_allclose(side**2, 0.3, atol=0.02)
    assert_uniform(box[..., 0].min(axis=(1, 2)), 1.7 / 64, (64 - 35 + 1.7) / 64)


@pytest.mark.parametrize("backend", ["torch", "tf"])
def test_every_order_of_the_jitter_is_equally_likely(backend):
    pixels = jnp.array([[[[0.7, 0.3, 0.2], [0.5, 0.6, 0.1]]]], jnp.float32)
    count = 24 * 100
    draws = jax.random.uniform(jax.random.key(1), (count, DRAWS))[:, SLICES["jitter"]]
    draws = draws.at[:, 1:5].set(jnp.array([0.9, 0.2, 0.1, 0.8]))  # parameters for all alike, order for each its own
    jitter = ViewPolicy(jitter=(0.4, 0.4, 0.4, 0.1), jitter_backend=backend).operations(3)["jitter"]
    results = np.asarray(jax.jit(jitter)(draws, jnp.repeat(pixels, count, axis=0)))

    operations = {
        "torch": (ops.brightness, ops.contrast, ops.saturation),
        "tf": (ops.brightness_additive, ops.contrast_by_channel, ops.saturation_hsv),
    }[backend]
    parameters = (0.32 if backend == "tf" else 1.32, 0.76, 0.68, 0.06)
    steps = [(jax.jit(o), p) for o, p in zip((*operations, ops.hue), parameters, strict=True)]
    in_order = []
    for order in permutations(steps):
        x = pixels
        for operation, parameter in order:
            x = operation(x, parameter)
        in_order.append(np.asarray(x)[0])
    matches = np.abs(results[:, None] - np.stack(in_order)).max(axis=(2, 3, 4)) < 1e-5
    assert matches.any(axis=1).all(), "every result is that of some order"
    share = matches / matches.sum(axis=1, keepdims=True)  # orders that give the same picture share it
    np.testing.assert_allclose(share.mean(axis=0), 1 / 24, atol=0.016)


def test_translation_reaches_each_whole_shift(drawn):
    places = drawn["translate"].reshape(500, -1).argmax(axis=1)
    assert set(zip(*np.divmod(places, 9), strict=True)) == {(r, c) for r in range(2, 7) for c in range(2, 7)}


def test_adding_an_operation_changes_no_draw_of_the_others(drawn):
    mirrored = drawn["crop"][:, :, :, ::-1]
    np.testing.assert_allclose(drawn["crop and more"], np.where(mirrored >= 0.5, 1 - mirrored, mirrored), atol=1e-5)


def test_bicubic_views_stay_in_the_unit_interval(drawn):
    assert drawn["bicubic"].min() == 0.0
    assert drawn["bicubic"].max() == 1.0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_number_of_channels(drawn, channels):
    views = drawn["1 channel" if channels == 1 else f"{channels} channels"]
    assert views.shape == (FEW, 2, 6, 8, channels)
    assert views.min() >= 0
    assert views.max() <= 1
    is_grey = np.ptp(views, axis=-1).max(axis=(2, 3)) < 1e-6
    assert is_grey.any() == (channels in (1, 3))


def primitives(channels, **options):
    policy = ViewPolicy(count=2, **options)
    images = PIXELS[..., :1].repeat(channels, axis=-1)
    return str(jax.make_jaxpr(policy)(keys_for(images, policy), images))


def test_what_has_no_effect_is_not_in_the_program():
    plain = primitives(3, size=12)
    assert "dot_general" not in plain
    assert plain == primitives(3, jitter=(0.8, 0.8, 0.8, 0.2), jitter_prob=0.0, blur=(0.0, 0.0))
    for channels in (1, 4):
        colour = primitives(channels, flip=0.5, jitter=(0.8, 0.8, 0.8, 0.2), grey=0.2)
        assert colour == primitives(channels, flip=0.5, jitter=(0.8, 0.8, 0.0, 0.0))


def test_operations_own_their_draws():
    owners = np.concatenate([np.arange(DRAWS)[s] for s in SLICES.values()])
    assert len(set(owners)) == len(owners)
    assert set(SLICES) == {
        "crop",
        *ViewPolicy(
            translate=1, flip=1.0, jitter=(1, 1, 1, 0.5), grey=1.0, blur=1.0, solarize=1.0, erase=1.0
        ).operations(3),
    }


def test_lists_of_a_json_config_are_taken_as_tuples():
    assert ViewPolicy(scale=[0.2, 1.0], size=[3, 4]) == ViewPolicy(scale=(0.2, 1.0), size=(3, 4))
    assert hash(ViewPolicy(scale=[0.2, 1.0])) == hash(ViewPolicy(scale=(0.2, 1.0)))


@pytest.mark.parametrize(
    "options",
    [
        {"count": 0},
        {"size": 0},
        {"size": (8, 8, 3)},
        {"scale": (0.5, 0.2)},
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 1.5)},
        {"ratio": (2.0, 1.0)},
        {"interpolation": "nearest"},
        {"translate": -1},
        {"flip": 1.5},
        {"flip": "yes"},
        {"count": 2, "blur": (0.1, 0.2, 0.3)},
        {"jitter": (0.8, 0.8, 0.8)},
        {"jitter": (0.8, 0.8, 0.8, 0.6)},
        {"jitter_backend": "cv2"},
        {"blur_sigma": (0.0, 2.0)},
        {"blur_kernel": 8},
        {"solarize_threshold": 128},
    ],
    ids=str,
)
def test_a_value_without_meaning_is_refused_by_name(options):
    name, value = list(options.items())[-1]
    with pytest.raises(UserError, match=f"^{name}=") as error:
        ViewPolicy(**options)
    assert str(value) in str(error.value) or name == "size"


def test_grey_comes_before_the_jitter_only_where_it_is_asked_for():
    options = {"jitter": (0.4, 0.4, 0.4, 0.1), "grey": 0.2, "flip": 0.5}
    assert list(ViewPolicy(**options).operations(3)) == ["flip", "jitter", "grey"]
    assert list(ViewPolicy(**options, grey_first=True).operations(3)) == ["flip", "grey", "jitter"]
