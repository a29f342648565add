"""What the published view policies draw, counted: how often each operation happens, which boxes, how strong a jitter."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.image import ops
from ssl_jax.data.image.presets import PRESETS, preset
from ssl_jax.data.image.view_policy import DRAWS, SLICES, ViewPolicy

MANY = 3000
HALF = (0.5,)


class Published(NamedTuple):
    """Numbers of the papers and their code; a probability for each view, or one for all of them."""

    views: int
    scale: tuple[float, float]
    flip: float = 0.5
    jitter: tuple[float, float, float, float] | None = None
    jitter_prob: float = 0.8
    grey: float = 0.2
    blur: tuple[float, ...] = (0.0,)
    solarize: tuple[float, ...] = (0.0,)
    backend: str = "torch"
    method: str = "bicubic"


PLAIN = {"flip": 0.0, "grey": 0.0, "method": "bilinear"}
STRONG, MIDDLE, SOFT = (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.4, 0.1), (0.4, 0.4, 0.2, 0.1)
ASYMMETRIC = {"jitter": SOFT, "blur": (1.0, 0.1), "solarize": (0.0, 0.2)}
RELEASED = ASYMMETRIC | {"blur": (0.0, 0.9)}
LOCAL = {"jitter": SOFT, "blur": HALF}
MOCO = {"method": "bilinear"}
PUBLISHED = {
    "simclr": Published(2, (0.08, 1), jitter=STRONG, blur=HALF),
    "simclr_cifar": Published(2, (0.08, 1), jitter=MIDDLE),
    "moco_v1": Published(2, (0.2, 1), jitter=(0.4, 0.4, 0.4, 0.4), jitter_prob=1.0, **MOCO),
    "moco_v2": Published(2, (0.2, 1), jitter=MIDDLE, blur=HALF, **MOCO),
    "moco_v3": Published(2, (0.08, 1), **ASYMMETRIC, **MOCO),
    "simsiam": Published(2, (0.2, 1), jitter=MIDDLE, blur=HALF, **MOCO),
    "byol": Published(2, (0.08, 1), **ASYMMETRIC, backend="tf"),
    "byol_cifar": Published(2, (0.08, 1), **ASYMMETRIC | {"blur": (0.0,)}),
    "barlow_twins": Published(2, (0.08, 1), **ASYMMETRIC),
    "vicreg": Published(2, (0.08, 1), **ASYMMETRIC),
    "swav": Published(2, (0.14, 1), jitter=STRONG, blur=HALF, **MOCO),
    "swav_local": Published(6, (0.05, 0.14), jitter=STRONG, blur=HALF, **MOCO),
    "lejepa": Published(2, (0.3, 1), **LOCAL, solarize=(0.2,)),
    "lejepa_local": Published(6, (0.05, 0.3), **LOCAL, solarize=(0.2,)),
    "dino": Published(2, (0.4, 1), **ASYMMETRIC),
    "dino_local": Published(8, (0.05, 0.4), **LOCAL),
    "dino_long": Published(2, (0.25, 1), **ASYMMETRIC),
    "dino_long_local": Published(10, (0.05, 0.25), **LOCAL),
    "ibot": Published(2, (0.25, 1), **ASYMMETRIC),
    "ibot_local": Published(10, (0.05, 0.25), **LOCAL),
    "dinov2": Published(2, (0.32, 1), **ASYMMETRIC),
    "dinov2_released": Published(2, (0.32, 1), **RELEASED),
    "dinov2_local": Published(8, (0.05, 0.32), **LOCAL),
    "dinov3": Published(2, (0.32, 1), **ASYMMETRIC, flip=0.0),
    "dinov3_released": Published(2, (0.32, 1), **RELEASED, flip=0.0),
    "dinov3_local": Published(8, (0.05, 0.32), **LOCAL, flip=0.0),
    "dinov3_gram": Published(2, (0.32, 1), flip=0.0, grey=0.0),
    "msn": Published(2, (0.3, 1), jitter=MIDDLE, blur=HALF, **MOCO),
    "msn_local": Published(10, (0.05, 0.3), jitter=MIDDLE, blur=HALF, **MOCO),
    "rotnet": Published(1, (0.08, 1), grey=0.0, **MOCO),
    "jigsaw": Published(1, ((255 / 256) ** 2,) * 2, grey=0.66, **MOCO),
    "relative_position": Published(1, (0.5, 1), **PLAIN),
    "curl": Published(2, (0.7056, 0.7056), **PLAIN),
    "mae": Published(1, (0.2, 1), grey=0.0),
    "ijepa": Published(1, (0.3, 1), **PLAIN),
}
SQUARE = ("jigsaw", "curl")  # whose crops have the ratio of the image


def test_every_preset_is_measured_and_its_numbers_are_the_published_ones():
    assert PUBLISHED.keys() == PRESETS.keys()
    for name, known in PUBLISHED.items():
        policy = ViewPolicy(**preset(name, 8))
        assert (policy.count, policy.scale, policy.interpolation) == (known.views, known.scale, known.method), name
        assert policy.jitter_backend == known.backend
        assert policy.jitter == (known.jitter or (0, 0, 0, 0))
        assert policy.ratio == ((1.0, 1.0) if name in SQUARE else (3 / 4, 4 / 3))


# --- how often

OPERATIONS = ("flip", "jitter", "grey", "blur", "solarize")
ALONE = {"flip": 0.0, "jitter_prob": 0.0, "grey": 0.0, "blur": 0.0, "solarize": 0.0, "blur_sigma": (2.0, 2.0)}
# One row of pixels, of different colours, that every operation changes.
PIXELS = np.array([[[0.9, 0.2, 0.1], [0.2, 0.6, 0.3], [0.7, 0.3, 0.6]]], np.float32)


def chances(policy: ViewPolicy, operation: str) -> float | tuple[float, ...]:
    return getattr(policy, "jitter_prob" if operation == "jitter" else operation)


@pytest.fixture(scope="module")
def shares():
    """Of each preset and operation: the share of `MANY` views that it changed, by view. What is equal is drawn once."""
    wanted = {}
    for name in PRESETS:
        whole = ViewPolicy(**preset(name, None))
        for operation in OPERATIONS:
            key = "jitter_prob" if operation == "jitter" else operation
            options = ALONE | {key: chances(whole, operation), "count": whole.count}
            if operation == "jitter":  # one of the four shows whether it happened
                options["jitter"] = (whole.jitter[0], 0.0, 0.0, 0.0)
            wanted[name, operation] = ViewPolicy(**options)
    policies = tuple(dict.fromkeys(wanted.values()))

    def changed(policy, draws):
        images = jnp.broadcast_to(PIXELS, (draws.shape[0], *PIXELS.shape))
        out = images
        for name, step in policy.operations(3).items():
            out = step(draws[:, SLICES[name]], out)
        happened = jnp.abs(out - images).max(axis=(1, 2, 3)) > 1e-6
        return happened.reshape(-1, policy.count).mean(axis=0)

    @jax.jit
    def measured(key):
        draws = jax.random.uniform(key, (MANY * 10, DRAWS))
        return [changed(policy, draws[: MANY * policy.count]) for policy in policies]

    found = dict(zip(policies, map(np.asarray, measured(jax.random.key(0))), strict=True))
    return {key: found[policy] for key, policy in wanted.items()}


@pytest.mark.parametrize("name", PRESETS)
def test_each_operation_happens_as_often_as_published(shares, name):
    known = PUBLISHED[name]
    expected = {
        "flip": known.flip,
        "jitter": known.jitter_prob if known.jitter else 0.0,
        "grey": known.grey,
        "blur": known.blur,
        "solarize": known.solarize,
    }
    for operation, chance in expected.items():
        chance = np.broadcast_to(chance, known.views)
        bound = 4.5 * np.sqrt(chance * (1 - chance) / MANY)  # of a binomial: one false alarm in 100,000
        assert (np.abs(shares[name, operation] - chance) <= bound + 1e-9).all(), (operation, shares[name, operation])


# --- which boxes


def reference_boxes(rng, count, side, scale, ratio):
    """torchvision's random resized crop: ten tries of an area and a ratio, else the centre; area and ratio [count]."""
    area = np.full(count, np.nan)
    shape = np.full(count, np.nan)
    for _ in range(10):
        target = side**2 * rng.uniform(*scale, count)
        aspect = np.exp(rng.uniform(*np.log(ratio), count))
        width, height = np.round(np.sqrt(target * aspect)), np.round(np.sqrt(target / aspect))
        good = np.isnan(area) & (width <= side) & (height <= side)
        area[good], shape[good] = (width * height)[good] / side**2, (width / height)[good]
    return np.where(np.isnan(area), 1.0, area), np.where(np.isnan(shape), 1.0, shape)


def distance(a, b):
    """Kolmogorov-Smirnov: the largest difference of two empirical distributions."""
    both = np.sort(np.concatenate([a, b]))
    return np.abs(
        np.searchsorted(np.sort(a), both, "right") / len(a) - np.searchsorted(np.sort(b), both, "right") / len(b)
    ).max()


BOXES = sorted({(known.scale, (1.0, 1.0) if name in SQUARE else (3 / 4, 4 / 3)) for name, known in PUBLISHED.items()})


@pytest.fixture(scope="module")
def boxes():
    draws = jax.random.uniform(jax.random.key(1), (MANY, ops.BOX_DRAWS))
    found = {}
    for ratio in {pair[1] for pair in BOXES}:
        scales = [scale for scale, other in BOXES if other == ratio]
        draw = jax.jit(jax.vmap(lambda low, high, r=ratio: ops.random_boxes(draws, 224, 224, (low, high), r)))
        drawn = np.stack(draw(*np.array(scales, np.float32).T), axis=1)
        found |= {(scale, ratio): boxes for scale, boxes in zip(scales, drawn, strict=True)}
    return found


@pytest.mark.parametrize("pair", BOXES, ids=str)
def test_areas_and_ratios_of_crops_are_distributed_as_torchvisions(boxes, pair):
    scale, ratio = pair
    top, left, height, width = boxes[pair]
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 224
    area, shape = height * width / 224**2, width / height
    expected = reference_boxes(np.random.default_rng(0), MANY, 224, scale, ratio)
    assert distance(area, expected[0]) < 2.2 * np.sqrt(2 / MANY)  # one false alarm in 10,000
    assert distance(shape, expected[1]) < 2.2 * np.sqrt(2 / MANY)


# --- how strong

NAMES = ("brightness", "contrast", "saturation", "hue")


def probed(operation, backend, strength, draws):
    """What one jitter operation of this strength did to a picture that shows its parameter, as that parameter."""
    strengths = tuple(strength * (name == operation) for name in NAMES)
    pixels = {
        "brightness": [[[0.4, 0.4, 0.4]]],
        "contrast": [[[0.45] * 3, [0.55] * 3]],
        "saturation": [[[0.55, 0.5, 0.5]]],
        "hue": [[[0.5, 0.0, 0.0]]],
    }[operation]
    images = jnp.broadcast_to(jnp.asarray(pixels, jnp.float32), (len(draws), *np.shape(pixels)))
    out = ViewPolicy(jitter=strengths, jitter_backend=backend).operations(3)["jitter"](draws, images)
    if operation == "brightness":
        return out[:, 0, 0, 0] - 0.4 if backend == "tf" else out[:, 0, 0, 0] / 0.4
    if operation == "contrast":
        return (out[:, 0, 1, 0] - out[:, 0, 0, 0]) / 0.1
    if operation == "saturation":
        spread = lambda x: x.max(axis=-1) - x.min(axis=-1)  # noqa: E731
        return (spread(out) / spread(images))[:, 0, 0]
    red, green, blue = jnp.moveaxis(out[:, 0, 0], -1, 0)
    most, chroma = out[:, 0, 0].max(-1), out[:, 0, 0].max(-1) - out[:, 0, 0].min(-1)
    low = jnp.where(most == green, 2 + (blue - red) / chroma, 4 + (red - green) / chroma)
    return (jnp.where(most == red, (green - blue) / chroma, low) / 6 + 0.5) % 1 - 0.5


STRENGTHS = sorted(
    {(n, p.backend, s) for p in PUBLISHED.values() if p.jitter for n, s in zip(NAMES, p.jitter, strict=True)}
)


@pytest.fixture(scope="module")
def parameters():
    draws = jax.random.uniform(jax.random.key(2), (MANY, DRAWS))[:, SLICES["jitter"]]
    measured = jax.jit(lambda draws: [probed(*case, draws) for case in STRENGTHS])
    return dict(zip(STRENGTHS, map(np.asarray, measured(draws)), strict=True))


@pytest.mark.parametrize("case", STRENGTHS, ids=str)
def test_jitter_is_uniform_between_the_published_strengths_in_both_semantics(parameters, case):
    operation, backend, strength = case
    around = 0.0 if operation == "hue" or (operation, backend) == ("brightness", "tf") else 1.0
    quantiles = np.quantile(parameters[case], np.linspace(0, 1, 9))
    np.testing.assert_allclose(quantiles, np.linspace(around - strength, around + strength, 9), atol=0.06 * strength)
