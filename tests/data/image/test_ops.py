"""Image operations against torchvision's outputs, against plain numpy, and against their own definitions."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.image import ops

GOLDENS = Path(__file__).parents[1] / "goldens"
ENTRY = next(e for e in json.loads((GOLDENS / "manifest.json").read_text()) if e["file"] == "aug_torchvision_ops.npz")
CONFIG = ENTRY["config"]
BOX = CONFIG["resized_crop"]

GOLDEN_OPS = {
    "brightness": lambda x: ops.brightness(x, CONFIG["brightness"]),
    "contrast": lambda x: ops.contrast(x, CONFIG["contrast"]),
    "saturation": lambda x: ops.saturation(x, CONFIG["saturation"]),
    "hue": lambda x: ops.hue(x, CONFIG["hue"]),
    "gray": ops.grey,
    "solarize": lambda x: ops.solarize(x, CONFIG["solarize_threshold"]),
    "blur": lambda x: ops.gaussian_blur(x, CONFIG["blur_sigma"], CONFIG["blur_kernel"]),
    "rrc_bicubic_aa": lambda x: ops.resized_crop(
        x, BOX["top"], BOX["left"], BOX["height"], BOX["width"], tuple(BOX["size"]), BOX["interpolation"]
    ),
}


FACTOR_OPS = (ops.brightness, ops.contrast, ops.saturation, ops.hue, ops.solarize)


def images(seed, *shape):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


crop = jax.jit(ops.resized_crop, static_argnums=(5, 6))
boxes = jax.jit(ops.random_boxes, static_argnums=(1, 2, 3, 4))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / ENTRY["file"], allow_pickle=False) as arrays:
        return {name: np.moveaxis(arrays[name], 0, -1) for name in arrays.files}


@pytest.fixture(scope="module")
def every_operation():
    return jax.jit(lambda x: {name: operation(x) for name, operation in GOLDEN_OPS.items()})


@pytest.mark.parametrize("name", GOLDEN_OPS)
def test_operation_equals_torchvision(golden, every_operation, name):
    ours = every_operation(golden["x"][None])[name][0]
    np.testing.assert_allclose(ours, golden[name], rtol=ENTRY["rtol"], atol=ENTRY["atol"])


def test_operations_ignore_the_other_images_of_the_batch(golden, every_operation):
    batch = np.concatenate([images(0, 2, *golden["x"].shape), golden["x"][None]])
    forwards, backwards = every_operation(batch), every_operation(batch[::-1])
    for name in GOLDEN_OPS:
        np.testing.assert_array_equal(forwards[name], backwards[name][::-1])


def test_parameters_are_one_for_each_example():
    x, factors = images(1, 4, 8, 8, 3), jnp.array([0.0, 0.5, 1.0, 1.7])
    operations = jax.jit(lambda x, factors: [operation(x, factors) for operation in FACTOR_OPS])
    together = operations(x, factors)
    for i in range(4):
        for ours, alone in zip(together, operations(x, jnp.full(4, factors[i])), strict=True):
            np.testing.assert_array_equal(ours[i], alone[i])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels(channels):
    @jax.jit
    def operations(x):
        resized = ops.resized_crop(x, 1, 2, 4, 5, (9, 7), "bicubic")
        blurred = ops.gaussian_blur(x, 1.0, 5)
        return ops.contrast(x, 0.0), (ops.brightness(x, 0.5), ops.solarize(x), blurred, resized)

    x = images(2, 3, 9, 7, channels)
    grey, others = operations(x)
    expected = np.broadcast_to(x.mean((1, 2, 3), keepdims=True), x.shape)
    np.testing.assert_allclose(grey, expected, rtol=1e-5, err_msg="contrast 0 leaves the mean over all channels")
    assert {y.shape for y in others} == {x.shape}


def test_neutral_parameters_change_nothing():
    x = images(3, 2, 6, 6, 3)
    neutral = jax.jit(lambda x: [operation(x, n) for operation, n in zip(FACTOR_OPS, (1, 1, 1, 0, 2), strict=True)])
    for same in neutral(x):
        np.testing.assert_allclose(same, x, atol=2e-6)


def test_hue_turns_red_to_green_to_blue_and_keeps_grey():
    colours = jnp.array([[1, 0, 0], [1, 0, 0], [0, 0, 0.5], [0.3, 0.3, 0.3]], jnp.float32).reshape(4, 1, 1, 3)
    turned = jax.jit(ops.hue)(colours, jnp.array([1 / 3, -1 / 3, 1 / 3, 0.2]))
    np.testing.assert_allclose(turned.reshape(4, 3), [[0, 1, 0], [0, 0, 1], [0.5, 0, 0], [0.3, 0.3, 0.3]], atol=1e-6)


def test_tensorflow_definitions_by_hand():
    x = images(4, 2, 5, 5, 3) * 0.5 + 0.25
    mean = x.mean((1, 2), keepdims=True)
    brighter, flatter = jax.jit(lambda x: (ops.brightness_additive(x, -0.1), ops.contrast_by_channel(x, 0.5)))(x)
    np.testing.assert_allclose(brighter, np.clip(x - 0.1, 0, 1), atol=1e-6)
    np.testing.assert_allclose(flatter, mean + 0.5 * (x - mean), atol=1e-6)
    pixels = jnp.array([[0.8, 0.4, 0.6], [0.8, 0.4, 0.6], [0, 0, 0]]).reshape(3, 1, 1, 3)  # V = .8, S = .5, and black
    paler = jax.jit(ops.saturation_hsv)(pixels, jnp.array([0.5, 9.0, 2.0]))
    np.testing.assert_allclose(paler.reshape(3, 3), [[0.8, 0.6, 0.7], [0.8, 0.0, 0.4], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("source", "target"), [(40, 16), (16, 40), (17, 17)])
def test_resize_equals_pillow(method, source, target):
    from PIL import Image

    x = images(5, 1, source, source + 3, 1)
    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[method]
    expected = np.asarray(Image.fromarray(x[0, :, :, 0], mode="F").resize((target, target), resample))
    ours = crop(x, 0, 0, source, source + 3, (target, target), method)
    np.testing.assert_allclose(ours[0, :, :, 0], expected, atol=1e-5)


def test_crop_reads_nothing_outside_its_box():
    x = np.full((1, 20, 20, 1), np.float32(1e6))
    x[:, 5:12, 3:11] = 0.5
    np.testing.assert_allclose(crop(x, 5, 3, 7, 8, (16, 5), "bicubic"), 0.5, rtol=1e-5)


def test_centre_is_torchvisions_resize_and_centre_crop():
    from PIL import Image

    x = images(6, 1, 30, 45, 1)
    resized = np.asarray(Image.fromarray(x[0, :, :, 0], mode="F").resize((24, 16), Image.Resampling.BILINEAR))
    centre = jax.jit(ops.resized_centre, static_argnums=(1, 2))
    np.testing.assert_allclose(centre(x, (14, 14), 0.875)[0, :, :, 0], resized[1:15, 5:19], atol=1e-5)
    assert centre(x, (20, 10), 1.0).shape == (1, 20, 10, 1)


def test_translation_repeats_the_edge():
    x = images(7, 2, 5, 6, 2)
    moved = jax.jit(ops.translate)(x, jnp.array([1, -2]), jnp.array([-3, 0]))
    np.testing.assert_allclose(moved[0], x[0][[0, 0, 1, 2, 3]][:, [3, 4, 5, 5, 5, 5]], atol=1e-6)
    np.testing.assert_allclose(moved[1], x[1][[2, 3, 4, 4, 4]], atol=1e-6)


@pytest.mark.parametrize("length", [1, 3, 8, 20])
def test_blur_equals_padding_and_summing(length):
    x, sigma, kernel = images(8, 1, length, length, 1), 1.3, 9
    weights = np.exp(-0.5 * ((np.arange(kernel) - kernel // 2) / sigma) ** 2)
    weights /= weights.sum()
    padded = np.pad(x[0, :, :, 0], kernel // 2, mode="reflect")
    expected = sum(
        weights[i] * weights[j] * padded[i : i + length, j : j + length] for i in range(kernel) for j in range(kernel)
    )
    blurred = jax.jit(ops.gaussian_blur, static_argnums=2)(x, sigma, kernel)
    np.testing.assert_allclose(blurred[0, :, :, 0], expected, atol=1e-6)


def draw_boxes(count, height, width, scale, ratio):
    uniform = jax.random.uniform(jax.random.key(0), (count, ops.BOX_DRAWS))
    return [np.asarray(b) for b in boxes(uniform, height, width, scale, ratio)]


def test_boxes_have_uniform_area_and_log_uniform_ratio():
    _, _, h, w = draw_boxes(20_000, 1000, 1000, (0.2, 0.5), (0.5, 2.0))  # every box of these fits at the first try
    area, log_ratio = h * w / 1e6, np.log2(w / h)
    for values, low, high in ((area, 0.2, 0.5), (log_ratio, -1.0, 1.0)):
        quantiles = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0])
        np.testing.assert_allclose(quantiles, np.linspace(low, high, 5), atol=0.02 * (high - low))
    assert abs(np.corrcoef(area, log_ratio)[0, 1]) < 0.03


def test_boxes_lie_uniformly_inside_the_image():
    top, left, h, w = draw_boxes(20_000, 28, 28, (0.2, 1.0), (3 / 4, 4 / 3))
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + h <= 28).all()
    assert (left + w <= 28).all()
    room = h <= 20
    np.testing.assert_allclose(np.mean((top[room] + 0.5) / (28 - h[room] + 1)), 0.5, atol=0.02)
    assert ((top == 28 - h) & room).any(), "the last place is drawn too"


def test_boxes_equal_the_sequential_algorithm():
    height, width, scale, ratio = 12, 30, (0.5, 1.0), (3 / 4, 4 / 3)  # often no try fits
    uniform = np.asarray(jax.random.uniform(jax.random.key(1), (300, ops.BOX_DRAWS)))
    drawn = np.stack(boxes(uniform, height, width, scale, ratio), axis=1).tolist()
    fallbacks = 0
    for u, box in zip(uniform, drawn, strict=True):
        expected = None
        for area, log_ratio in zip(u[:10], u[10:20], strict=True):
            area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
            aspect = np.exp(np.log(ratio[0]) + (np.log(ratio[1]) - np.log(ratio[0])) * log_ratio)
            w, h = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
            if w <= width and h <= height:
                expected = [int(u[20] * (height - h + 1)), int(u[21] * (width - w + 1)), h, w]
                break
        fallbacks += expected is None
        assert box == (expected or [0, 7, 12, 16])
    assert 0 < fallbacks < 300
