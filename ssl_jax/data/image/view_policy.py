"""How views of an image are drawn: a frozen record of numbers that becomes a chain of pure functions.

`ViewPolicy.operations` builds, for one number of channels, the functions `(draws, images) -> images` that a view goes
through. What has probability 0, or nothing to act on, is left out, so the program never computes it.

A view is a pure function of its image and of one key. The key gives `DRAWS` uniform numbers at once, and every
operation owns a slice of them: to add an operation to a policy changes no draw of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.image import ops
from ssl_jax.data.image.host import Crop
from ssl_jax.errors import UserError

Operation = Callable[[Array, Array], Array]  # (its uniform draws [B, n], images [B, H, W, C]) -> images
Probability = float | tuple[float, ...]

DRAWS = 64
# Who owns which of the draws of a view. New operations go into the free ones at the end: to move a slice would change
# the views of every recipe. The first draw of what happens at times decides whether it does.
SLICES = {
    "crop": slice(0, ops.BOX_DRAWS),
    "translate": slice(22, 24),
    "flip": slice(24, 25),
    "jitter": slice(25, 34),
    "grey": slice(34, 35),
    "blur": slice(35, 37),
    "solarize": slice(37, 38),
    "erase": slice(38, 43),
}


@dataclass(frozen=True)
class ViewPolicy:
    """Draws `count` views of one size, in the order crop, translate, flip, jitter, grey, blur, solarize,
    erase.

    size: rows and columns of a view; an int stands for a square, None for the size of the image.
    scale, ratio: area as a fraction of the image's, and width/height, of the random resized crop. A scale of (1, 1)
        means no random crop: the centre of the image, as in evaluation, which is free where the image has that size.
    interpolation: "bilinear" or "bicubic".
    antialias: whether a random crop that shrinks is averaged over all of its pixels, as in Pillow and in torchvision; False is
        what torch's `interpolate` does, and torchvision's crops of tensors before 0.17.
    rounding: of the sides of random crops to whole pixels: "nearest" as in torchvision, or "down".
    translate: the largest shift in pixels each way, uncovered pixels repeat the edge (DrQ, arXiv 2004.13649).
    jitter: strengths (brightness, contrast, saturation, hue). Factors are U[max(0, 1 - s), 1 + s], the hue shift is
        U[-s, s]; all of it is drawn anew for every view.
    jitter_order: "random", uniformly, as in torchvision and in SimCLR's and BYOL's code, or "fixed": in the order above.
    jitter_backend: whose definitions: "torch" (torchvision); "tf" (additive brightness U[-s, s], contrast by channel,
        saturation in HSV: SimCLR v1, BYOL); "tf_multiplicative" (the same with a factor for brightness: SimCLR v2).
    grey_first: grey comes before the jitter, as in MoCo v1, and not after it.
    blur_sigma: range of the Gaussian's standard deviation in pixels; blur_kernel: its taps, None for 3 sigma each way.
    solarize_threshold: pixels from here on are inverted.
    erase_scale, erase_ratio: area as a fraction of the view's, and width/height, of a box that gets the mean colour of its view
        (Zhong et al. 2017, arXiv 1708.04896; there random numbers, or the mean of the data). It is cut off at the border.
    flip, jitter_prob, grey, blur, solarize, erase: probabilities; a tuple has one for each of the `count` views (BYOL, DINO).
    like: the name of another policy whose draws this one takes, and so its crops and flips if `scale`, `ratio` and `flip`
        are the same: the same views at another size, or without distortions (DINOv3's Gram teacher).
    """

    count: int = 1
    size: int | tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    antialias: bool = True
    rounding: str = "nearest"
    translate: int = 0
    flip: Probability = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_prob: Probability = 1.0
    jitter_backend: str = "torch"
    jitter_order: str = "random"
    grey: Probability = 0.0
    grey_first: bool = False
    blur: Probability = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_kernel: int | None = None
    solarize: Probability = 0.0
    solarize_threshold: float = 0.5
    erase: Probability = 0.0
    erase_scale: tuple[float, float] = (0.02, 0.33)
    erase_ratio: tuple[float, float] = (0.3, 3.3)
    like: str | None = None

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            if isinstance(getattr(self, name), list):  # what a JSON config holds; tuples can be hashed
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if isinstance(self.size, int):
            object.__setattr__(self, "size", (self.size, self.size))
        _check(self)

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Rows and columns of a view; None: those of the image."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def __call__(self, keys: Array, images: Array) -> Array:
        """Views [B, V, h, w, C] in [0, 1] of float32 `images` [B, H, W, C], one for each of the typed `keys` [B, V]."""
        draws = draws_of(keys)
        boxes = draws[:, SLICES["crop"]].reshape((*keys.shape, -1))
        return self._changed(draws, jax.vmap(self.crop, in_axes=(1, None), out_axes=1)(boxes, images))

    def of_crops(self, keys: Array, crops: Array) -> Array:
        """The same views of float32 `crops` [B, V, h, w, C] that were cut on the host, with these keys."""
        return self._changed(draws_of(keys), crops)

    def _changed(self, draws: Array, crops: Array) -> Array:
        """The crops [B, V, h, w, C] after every operation, each by its own of the draws [B * V, DRAWS]."""
        x = crops.reshape((-1, *crops.shape[2:]))  # an example's views stay together: a sharded batch stays where it is
        for name, operation in self.operations(x.shape[-1]).items():
            x = operation(draws[:, SLICES[name]], x)
        return x.reshape((*crops.shape[:2], *x.shape[1:]))

    def on_host(self, name: str) -> Crop:
        """What the host does of it, for views that take the draws of policy `name`."""
        if self.pixels is None:
            raise UserError(f"augment.views.{name} has no size; whole pictures differ in theirs: set augment.size")
        if not self.antialias:
            raise UserError(f"augment.views.{name}.antialias=False: on the host that is data.resize=fast; leave it out")
        return Crop(name, self.count, self.pixels, self.scale, self.ratio, self.interpolation, self.rounding)

    def operations(self, channels: int) -> dict[str, Operation]:
        """What happens after the crop to images [B * V, h, w, `channels`], by name and in order."""
        steps: dict[str, Operation | None] = {
            "translate": _translation(self.translate),
            "flip": self._sometimes(self.flip, lambda draws, x: x[:, :, ::-1]),
            "jitter": self._sometimes(self.jitter_prob, _jitter(self, channels)),
            "grey": self._sometimes(self.grey, _grey(channels)),
            "blur": self._sometimes(self.blur, _blur(self.blur_sigma, self.blur_kernel)),
            "solarize": self._sometimes(self.solarize, lambda draws, x: ops.solarize(x, self.solarize_threshold)),
            "erase": self._sometimes(self.erase, partial(_erase, self.erase_scale, self.erase_ratio)),
        }
        order = ("translate", "flip", "grey", "jitter", "blur", "solarize", "erase") if self.grey_first else steps
        return {name: step for name in order if (step := steps[name]) is not None}

    def crop(self, draws: Array, images: Array) -> Array:
        """A crop [R, h, w, C] of each of the images [R, H, W, C], by its box of the draws [R, BOX_DRAWS]."""
        height, width = images.shape[1:3]
        size, method = self.pixels or (height, width), self.interpolation
        if self.scale == (1.0, 1.0):
            whole = size == (height, width)
            return images if whole else ops.unit(ops.resized_centre(images, size, 1.0, method))
        boxes = ops.random_boxes(draws, height, width, self.scale, self.ratio, self.rounding)
        # Bicubic overshoots; 8-bit images, on which the references crop, cut that off.
        return ops.unit(ops.resized_crop(images, *boxes, size, method, self.antialias))

    def _sometimes(self, probability: Probability, operation: Operation | None) -> Operation | None:
        """`operation` on some of the images, at random; None where that is on none, unchanged where it is on all."""
        chances = probability if isinstance(probability, tuple) else (probability,) * self.count
        if operation is None or not any(chances):
            return None
        act = operation

        def always(draws: Array, x: Array) -> Array:
            return act(draws[:, 1:], x)

        def sometimes(draws: Array, x: Array) -> Array:
            chance = jnp.tile(jnp.asarray(chances, jnp.float32), x.shape[0] // self.count)
            return ops.where(draws[:, 0] < chance, always(draws, x), x)

        return always if all(chance == 1 for chance in chances) else sometimes


def draws_of(keys: Array) -> Array:
    """The uniforms [B * V, DRAWS] of the views with the typed keys [B, V]."""
    return jax.vmap(lambda key: jax.random.uniform(key, (DRAWS,)))(keys.reshape(-1))


def _between(uniform: Array, low: float, high: float) -> Array:
    return low + (high - low) * uniform


def _translation(pixels: int) -> Operation | None:
    def apply(draws: Array, x: Array) -> Array:
        shift = jnp.floor(draws[:, :2] * (2 * pixels + 1)).astype(jnp.int32) - pixels
        return ops.translate(x, shift[:, 0], shift[:, 1])

    return apply if pixels else None


def _grey(channels: int) -> Operation | None:
    return (lambda draws, x: ops.grey(x)) if channels == 3 else None


def _blur(sigma: tuple[float, float], kernel: int | None) -> Operation:
    taps = kernel or 2 * math.ceil(3 * sigma[1]) + 1
    return lambda draws, x: ops.gaussian_blur(x, _between(draws[:, 0], *sigma), taps)


def _erase(scale: tuple[float, float], ratio: tuple[float, float], draws: Array, x: Array) -> Array:
    """Images [R, h, w, C] with a box of their mean colour; draws [R, 4]: area, ratio, and both places of the centre."""
    height, width = x.shape[1:3]
    area = _between(draws[:, 0], *scale) * height * width
    aspect = jnp.exp(_between(draws[:, 1], *map(math.log, ratio)))
    rows = _stretch(draws[:, 2], jnp.sqrt(area / aspect), height)
    columns = _stretch(draws[:, 3], jnp.sqrt(area * aspect), width)
    box = (rows[:, :, None] & columns[:, None, :])[..., None]
    return jnp.where(box, x.mean((1, 2), keepdims=True), x)


def _stretch(centre: Array, length: Array, size: int) -> Array:
    """Bool [R, `size`]: places within half of `length` [R] of the centre [R], which is a fraction."""
    return jnp.abs(jnp.arange(size) + 0.5 - centre[:, None] * size) < length[:, None] / 2


# -------------------------------------------------------------------------------------------------------- colour jitter


class _Blend(NamedTuple):
    """A jitter operation, the range of its parameter and the column of its draw."""

    operation: Callable[[Array, Array], Array]
    low: float
    high: float
    column: int


_BACKENDS = {  # brightness, contrast, saturation
    "torch": (ops.brightness, ops.contrast, ops.saturation),
    "tf": (ops.brightness_additive, ops.contrast_by_channel, ops.saturation_hsv),
    "tf_multiplicative": (ops.brightness, ops.contrast_by_channel, ops.saturation_hsv),
}
_HUE, _RANK, _ORDER = 3, 4, 5  # columns of the jitter's draws, after those of the three


def _jitter(policy: ViewPolicy, channels: int) -> Operation | None:
    """The colour operations that have a strength and something to act on, in a random order for every image or in theirs."""
    *strengths, hue = policy.jitter if channels == 3 else (*policy.jitter[:2], 0.0, 0.0)
    operations = _BACKENDS[policy.jitter_backend]
    blends = tuple(_blend(*b, column) for column, b in enumerate(zip(operations, strengths, strict=True)) if b[1])
    if policy.jitter_order == "fixed":
        return partial(_jitter_in_turn, blends, hue) if blends or hue else None
    if hue:
        return partial(_jitter_around_hue, blends, hue)
    return partial(_jitter_without_hue, blends) if blends else None


def _blend(operation: Callable[[Array, Array], Array], strength: float, column: int) -> _Blend:
    if operation is ops.brightness_additive:
        return _Blend(operation, -strength, strength, column)
    return _Blend(operation, max(0.0, 1.0 - strength), 1.0 + strength, column)


def _in_random_order(blends: tuple[_Blend, ...], draws: Array) -> Callable[[Array, int], Array]:
    """`(x, place) -> x`: for every image, the one of `blends` that its random permutation has at `place`."""
    parameters = [_between(draws[:, b.column], b.low, b.high) for b in blends]
    order = jnp.argsort(draws[:, _ORDER : _ORDER + len(blends)], axis=1)

    def at(x: Array, place: int) -> Array:
        first, *others = [b.operation(x, parameter) for b, parameter in zip(blends, parameters, strict=True)]
        for index, other in enumerate(others, start=1):
            first = ops.where(order[:, place] == index, other, first)
        return first

    return at


def _jitter_in_turn(blends: tuple[_Blend, ...], hue: float, draws: Array, x: Array) -> Array:
    for blend in blends:
        x = blend.operation(x, _between(draws[:, blend.column], blend.low, blend.high))
    return ops.hue(x, _between(draws[:, _HUE], -hue, hue)) if hue else x


def _jitter_without_hue(blends: tuple[_Blend, ...], draws: Array, x: Array) -> Array:
    blend = _in_random_order(blends, draws)
    for place in range(len(blends)):
        x = blend(x, place)
    return x


def _jitter_around_hue(blends: tuple[_Blend, ...], strength: float, draws: Array, x: Array) -> Array:
    """Hue at a uniformly random rank among the n blends: those of lower rank before it, the others after it.

    All (n + 1)! orders are equally likely. Choosing among all n + 1 operations at each of n + 1 places would compute
    hue n + 1 times, and it costs as much as the others together.
    """
    blend = _in_random_order(blends, draws)
    rank = jnp.floor(draws[:, _RANK] * (len(blends) + 1))
    for place in range(len(blends)):
        x = ops.where(place < rank, blend(x, place), x)
    x = ops.hue(x, _between(draws[:, _HUE], -strength, strength))
    for place in range(len(blends)):
        x = ops.where(place >= rank, blend(x, place), x)
    return x


# ----------------------------------------------------------------------------------------------------------- validation


def _increasing(pair: tuple[float, float], above: float, most: float) -> bool:
    return len(pair) == 2 and above < pair[0] <= pair[1] <= most


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "count": (lambda n: n >= 1 and n == int(n), "a whole number of views, at least 1"),
    "size": (lambda size: size is None or (len(size) == 2 and min(size) >= 1), "a positive int, or (rows, columns)"),
    "scale": (lambda pair: _increasing(pair, 0, 1), "(low, high) with 0 < low <= high <= 1"),
    "ratio": (lambda pair: _increasing(pair, 0, math.inf), "(low, high) of width/height with 0 < low <= high"),
    "interpolation": (lambda name: name in ops.INTERPOLATIONS, f"one of {', '.join(ops.INTERPOLATIONS)}"),
    "antialias": (lambda flag: isinstance(flag, bool), "True or False"),
    "rounding": (lambda name: name in ops.ROUNDINGS, f"one of {', '.join(ops.ROUNDINGS)}"),
    "jitter_order": (lambda name: name in ("random", "fixed"), "random or fixed"),
    "translate": (lambda n: n >= 0 and n == int(n), "a whole number of pixels, 0 or more"),
    "jitter": (
        lambda s: len(s) == 4 and min(s) >= 0 and s[3] <= 0.5,
        "four strengths of at least 0: brightness, contrast, saturation, and hue (0.5 is half of the circle, the most)",
    ),
    "jitter_backend": (lambda name: name in _BACKENDS, f"one of {', '.join(_BACKENDS)}"),
    "blur_sigma": (lambda pair: _increasing(pair, 0, math.inf), "(low, high) in pixels with 0 < low <= high"),
    "blur_kernel": (lambda n: n is None or (n >= 1 and n % 2 == 1), "an odd number of taps, or None"),
    "solarize_threshold": (lambda value: 0 <= value <= 1, "a pixel value in [0, 1]"),
    "erase_scale": (lambda pair: _increasing(pair, 0, 1), "(low, high) with 0 < low <= high <= 1"),
    "erase_ratio": (lambda pair: _increasing(pair, 0, math.inf), "(low, high) of width/height with 0 < low <= high"),
}
_PROBABILITIES = ("flip", "jitter_prob", "grey", "blur", "solarize", "erase")


def _check(policy: ViewPolicy) -> None:
    """UserError where a value has no meaning."""

    def probability(value: Probability) -> bool:
        chances = value if isinstance(value, tuple) else (value,) * policy.count
        return len(chances) == policy.count and all(0 <= chance <= 1 for chance in chances)

    remedy = f"a probability in [0, 1], or one for each of the {policy.count} views"
    for name, (valid, wanted) in (_RULES | dict.fromkeys(_PROBABILITIES, (probability, remedy))).items():
        value = getattr(policy, name)
        try:
            meaningful = valid(value)
        except (TypeError, ValueError):  # a string where a number belongs, or the like
            meaningful = False
        if not meaningful:
            raise UserError(f"{name}={value!r}; it has to be {wanted}")
