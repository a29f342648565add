"""The numbers that were drawn for each view, for people: drawn once more from the same keys, beside the code that makes views.

`told(augment, keys, size, channels)` says for every view what `augment(keys, batch)` does to the images: the box, whether it is
mirrored, the factors of the jitter in their order, the width of the blur.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.image import ops
from ssl_jax.data.image.view_policy import (
    _BACKENDS,
    _HUE,
    _ORDER,
    _RANK,
    DRAWS,
    SLICES,
    Probability,
    ViewPolicy,
    _blend,
)
from ssl_jax.data.image.views import ImageViews, view_keys

Numbers = dict[str, Any]  # what was done to a view, in the order in which it was done
JITTER = ("brightness", "contrast", "saturation")


def told(
    augment: ImageViews, keys: Array, size: tuple[int, int] | None, channels: int
) -> dict[str, list[list[Numbers]]]:
    """Policy -> [B][V] numbers, for the typed `keys` [B] and images of `size` (rows, columns).

    `size` None is for whole pictures of several sizes, of which only the host knows where it cuts: the range stands for the box.
    """
    return {
        name: _of_policy(policy, view_keys(keys, policy.like or name, policy.count), size, channels)
        for name, policy in augment.policies.items()
    }


def _of_policy(policy: ViewPolicy, keys: Array, size: tuple[int, int] | None, channels: int) -> list[list[Numbers]]:
    draws = np.asarray(jax.jit(jax.vmap(lambda key: jax.random.uniform(key, (DRAWS,))))(keys.reshape(-1)))
    crops = _crops(policy, draws, size)
    views = [crops[n] | _changes(policy, draw, n % policy.count, channels) for n, draw in enumerate(draws)]
    return [views[start : start + policy.count] for start in range(0, len(views), policy.count)]


def _crops(policy: ViewPolicy, draws: np.ndarray, size: tuple[int, int] | None) -> list[Numbers]:
    """What of the image each view shows: its box, or of whole pictures how much may be drawn of them."""
    if policy.scale == (1.0, 1.0):
        return [{}] * len(draws)
    return (
        [{"part": policy.scale}] * len(draws)
        if size is None
        else [{"crop": box} for box in _boxes(policy, draws, size)]
    )


def _boxes(policy: ViewPolicy, draws: np.ndarray, size: tuple[int, int]) -> list[tuple[int, ...]]:
    """(top, left, height, width) in pixels of the image, for each row of draws."""
    boxes = ops.random_boxes(jnp.asarray(draws[:, SLICES["crop"]]), *size, policy.scale, policy.ratio)
    return [tuple(int(x) for x in box) for box in zip(*boxes, strict=True)]


def _changes(policy: ViewPolicy, draw: np.ndarray, view: int, channels: int) -> Numbers:
    own = {name: draw[part] for name, part in SLICES.items()}
    parts: dict[str, Numbers] = {
        "translate": _translated(policy, own["translate"]),
        "flip": {"mirrored": True} if _happens(policy.flip, view, own["flip"]) else {},
        "jitter": _jittered(policy, own["jitter"][1:], channels)
        if _happens(policy.jitter_prob, view, own["jitter"])
        else {},
        "grey": {"grey": True} if channels == 3 and _happens(policy.grey, view, own["grey"]) else {},
        "blur": {"blur": _between(own["blur"][1], *policy.blur_sigma)}
        if _happens(policy.blur, view, own["blur"])
        else {},
        "solarize": {"solarized": policy.solarize_threshold}
        if _happens(policy.solarize, view, own["solarize"])
        else {},
    }
    return {key: value for name in policy.operations(channels) for key, value in parts[name].items()}


def _happens(probability: Probability, view: int, draws: np.ndarray) -> bool:
    chance = probability[view] if isinstance(probability, tuple) else probability
    return bool(draws[0] < chance)


def _translated(policy: ViewPolicy, draws: np.ndarray) -> Numbers:
    down, right = (int(np.floor(draws * np.float32(2 * policy.translate + 1))[i]) - policy.translate for i in (0, 1))
    return {"moved": (down, right)} if policy.translate else {}


def _jittered(policy: ViewPolicy, draws: np.ndarray, channels: int) -> Numbers:
    """The parameters of the colour operations, in the order in which they act."""
    *strengths, hue = policy.jitter if channels == 3 else (*policy.jitter[:2], 0.0, 0.0)
    zipped = enumerate(zip(_BACKENDS[policy.jitter_backend], strengths, strict=True))
    blends = [_blend(operation, strength, column) for column, (operation, strength) in zipped if strength]
    order = np.argsort(draws[_ORDER : _ORDER + len(blends)], kind="stable")
    numbers = [
        (JITTER[blends[i].column], _between(draws[blends[i].column], blends[i].low, blends[i].high)) for i in order
    ]
    if hue:
        rank = int(np.floor(draws[_RANK] * np.float32(len(blends) + 1)))
        numbers.insert(rank, ("hue", _between(draws[_HUE], -hue, hue)))
    return dict(numbers)


def _between(draw: np.ndarray, low: float, high: float) -> float:
    return float(np.float32(low) + np.float32(high - low) * draw)


def lines(numbers: Numbers, size: tuple[int, int] | None) -> list[str]:
    """For people: `crop 38 %: 20 x 15 at 3, 8`, `mirrored`, `brightness x1.20`."""
    return [_line(name, value, size) for name, value in numbers.items()] or ["unchanged"]


def _line(name: str, value: Any, size: tuple[int, int] | None) -> str:
    if name == "crop" and size is not None:
        top, left, height, width = value
        part = 100 * height * width / (size[0] * size[1])
        return f"crop {part:.0f} %: {width} x {height} at {left}, {top}"
    if name == "part":
        return f"crop of {100 * value[0]:.0f} to {100 * value[1]:.0f} %"
    if name == "moved":
        return f"moved {value[1]:+d}, {value[0]:+d}"
    if name == "blur":
        return f"blur {value:.2f} px"
    if name == "hue":
        return f"hue {value:+.3f}"
    return f"{name} {value:.2f}" if isinstance(value, float) else name
