"""The numbers told of a view are those that made it: the view follows from them."""

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.data.image import ops
from ssl_jax.data.image.told import lines, told
from ssl_jax.data.image.views import ImageViews

OPTIONS = {
    "scale": (0.2, 0.9),
    "flip": 0.5,
    "translate": 2,
    "solarize": 0.5,
    "blur": (1.0, 0.3),
    "blur_kernel": 7,
    "count": 2,
}
COLOUR = {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_prob": 0.7, "grey": 0.3}
COLOURS = {"brightness": ops.brightness, "contrast": ops.contrast, "saturation": ops.saturation, "hue": ops.hue}


def made_again(image, numbers, size):
    """What the told numbers make of one image [H, W, C], by the operations that they name."""
    x = image[None]
    one = lambda value: jnp.array([value])  # noqa: E731
    for name, value in numbers.items():
        if name == "crop":
            x = ops.unit(ops.resized_crop(x, *map(one, value), size))
        elif name == "moved":
            x = ops.translate(x, one(value[0]), one(value[1]))
        elif name == "mirrored":
            x = x[:, :, ::-1]
        elif name in COLOURS:
            x = COLOURS[name](x, one(value))
        elif name == "grey":
            x = ops.grey(x)
        elif name == "blur":
            x = ops.gaussian_blur(x, one(value), 7)
        else:
            x = ops.solarize(x, value)
    return x[0]


def test_a_view_is_what_its_numbers_make_of_the_image():
    other = {**OPTIONS, **COLOUR, "like": "image", "flip": 0.0, "grey_first": True, "jitter": (0.4, 0, 0.2, 0)}
    augment = ImageViews(12, (0.0,), (1.0,), {"image": OPTIONS | COLOUR, "other": other})
    image = np.random.default_rng(0).integers(0, 255, (4, 20, 16, 3)).astype(np.uint8)
    keys = jax.random.split(jax.random.key(3), 4)
    views, numbers = jax.jit(augment)(keys, {"image": image}), told(augment, keys, (20, 16), 3)
    assert sum("mirrored" in n for row in numbers["image"] for n in row) not in (0, 8)
    for name in views:
        again = [
            made_again(x / jnp.float32(255), n, (12, 12))
            for x, row in zip(image, numbers[name], strict=True)
            for n in row
        ]
        np.testing.assert_allclose(np.asarray(again), views[name].reshape(8, 12, 12, 3), atol=2e-3)


def test_grey_images_are_told_no_colours_and_whole_pictures_no_box():
    augment = ImageViews(12, (0.0,), (1.0,), {"image": OPTIONS | COLOUR})
    keys = jax.random.split(jax.random.key(3), 4)
    kinds = {key for row in told(augment, keys, None, 1)["image"] for n in row for key in n}
    assert kinds <= {"part", "moved", "mirrored", "brightness", "contrast", "blur", "solarized"}
    assert {"part", "moved", "mirrored", "contrast", "blur"} <= kinds
    assert lines({"part": (0.25, 1.0)}, None) == ["crop of 25 to 100 %"]


def test_numbers_are_written_for_people():
    numbers = {"crop": (8, 3, 15, 20), "moved": (-1, 2), "mirrored": True, "hue": -0.05, "contrast": 1.25, "blur": 0.5}
    assert lines(numbers, (28, 28)) == [
        "crop 38 %: 20 x 15 at 3, 8", "moved +2, -1", "mirrored", "hue -0.050", "contrast 1.25", "blur 0.50 px",
    ]  # fmt: skip
    assert lines({}, None) == ["unchanged"]
