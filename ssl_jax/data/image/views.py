"""Batches of images on the device -> named, normalised, randomly changed views.

`ImageViews` is the `augment` of a recipe: view policies by name, and the normalisation they share. The draws of an
example depend on its key and the policy's name alone, never on its neighbours, other policies or the number of devices.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.data.augment import Batch, Views, other_kinds
from ssl_jax.data.image import ops
from ssl_jax.data.image.host import HostCrops, view_numbers
from ssl_jax.data.image.pixels import check_unit
from ssl_jax.data.image.view_policy import ViewPolicy
from ssl_jax.data.panels import Panel, Pictures
from ssl_jax.errors import UserError


@dataclass(frozen=True)
class ImageViews:
    """Views of the images of a batch, by named policies.

    size: rows and columns of the evaluation view (an int for a square), and of each policy that names none.
    mean, std: of pixels in [0, 1]; one number, or one for each channel.
    views: policy name -> options of `ViewPolicy`.
    crop_fraction: evaluation resizes the short side to `size / crop_fraction` and keeps the centre (ImageNet: .875).
    interpolation: of that resize, with antialias.
    key: the field of the batch that holds images [B, H, W, C]: uint8, uint16, or floats in [0, 1].

    >>> augment = ImageViews(28, (0.286,), (0.353,), {"image": {"count": 2, "scale": (0.2, 1.0), "flip": 0.5}})
    >>> views = augment(jax.random.split(jax.random.key(0), 4), {"image": jnp.zeros((4, 28, 28, 1))})
    >>> views["image"].shape
    (4, 2, 28, 28, 1)
    """

    size: int | tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    views: Mapping[str, Mapping[str, Any]] | tuple[tuple[str, ViewPolicy], ...]
    crop_fraction: float = 1.0
    interpolation: str = "bilinear"
    key: str = "image"

    inputs: ClassVar = ("image",)

    def __post_init__(self) -> None:
        make_hashable(self, ViewPolicy)
        check_views(self)

    @property
    def policies(self) -> dict[str, ViewPolicy]:
        """The policies by name."""
        return cast(dict[str, ViewPolicy], dict(self.views))  # since __post_init__

    @property
    def pixels(self) -> tuple[int, int]:
        """Rows and columns of the evaluation view."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """Views {name: float32 [B, V, h, w, C]} of `batch`, drawn from the typed keys [B] of its examples.

        Where the host cut them (`host`), the batch holds `<key>/<name>` uint8 [B, V, h, w, C] in the place of images.
        """
        whole = cache(partial(self._images, batch))
        return {name: self._normalise(self._views(keys, batch, name, whole)) for name in self.policies}

    def host(self, mode: str = "antialias") -> HostCrops:
        """The crops of all policies for whole pictures on the host; flips and colours are left to the device."""
        crops = ((name, policy.on_host(policy.like or name)) for name, policy in self.policies.items())
        return HostCrops(self.key, tuple(crops), mode)

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """{"image": float32 [B, h, w, C]}: the centre of the image at the evaluation size, without randomness.

        With `policy`, at the size of that policy's views: for what sees nothing else, such as a head on a flattened map.
        """
        images, size = self._images(batch), (self.policies[policy].pixels if policy else None) or self.pixels
        if images.shape[1:3] != size or self.crop_fraction != 1.0:
            images = ops.resized_centre(images, size, self.crop_fraction, self.interpolation)
        return {"image": self._normalise(ops.unit(images))}

    def plain(self, batch: Batch) -> Array:
        """The pixels [B, h * w * C] of the evaluation view."""
        image = self.evaluation(batch)["image"]
        return image.reshape(image.shape[0], -1)

    def content(self, batch: Batch) -> Array:
        """What makes two records the same: their pixels [B, H, W, C]."""
        return jnp.asarray(batch[self.key])

    def panel(self, views: Views) -> dict[str, Panel]:
        """The `views` of each image side by side, and those of every other size under the name of their policy."""
        crops = {name: views[name] for name in other_kinds(views, self.inputs) if views[name].ndim == 5}
        return {name: panel_of_views(x, self.denormalise) for name, x in ({"views": views["image"]} | crops).items()}

    def check(self, records: Iterable[Mapping[str, Any]]) -> None:
        """UserError for records whose images would be clipped: floats outside of [0, 1]."""
        check_unit(records, self.key)

    def denormalise(self, x: Array) -> Array:
        """Normalised images [..., C] -> [0, 1]."""
        return ops.unit(x * jnp.asarray(self.std, x.dtype) + jnp.asarray(self.mean, x.dtype))

    def upright(self, x: Array) -> Array:
        """Images as they are."""
        return x

    def _views(self, keys: Array, batch: Batch, name: str, whole: Callable[[], Array]) -> Array:
        policy, field = self.policies[name], f"{self.key}/{name}"
        drawn = view_keys(keys, policy.like or name, policy.count)
        if field in batch:
            return policy.of_crops(drawn, jnp.asarray(batch[field]).astype(jnp.float32) / 255)
        return policy(drawn, whole())

    def _normalise(self, x: Array) -> Array:
        return (x - jnp.asarray(self.mean, x.dtype)) / jnp.asarray(self.std, x.dtype)

    def _images(self, batch: Batch) -> Array:
        """Float32 images in [0, 1], or a UserError that names what is wrong with the field."""
        if self.key not in batch:
            raise UserError(
                f"a batch has no field '{self.key}', only {sorted(batch)}; set augment.key to one that has images"
            )
        images = jnp.asarray(batch[self.key])
        if images.ndim != 4:
            raise UserError(
                f"'{self.key}' has shape {images.shape}, images are [B, H, W, C]; grey ones need a last axis of 1"
            )
        channels = images.shape[-1]
        if _channels_first(images.shape):
            raise UserError(
                f"'{self.key}' has shape {images.shape}, which reads as {channels} channels of {images.shape[1]} x "
                f"{images.shape[2]} pixels; channels come last: np.moveaxis(images, 1, -1)"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise UserError(
                    f"augment.{name} has {len(values)} values for images of {channels} channels; give 1 or {channels}"
                )
        if images.dtype in (jnp.uint8, jnp.uint16):
            return images.astype(jnp.float32) / jnp.iinfo(images.dtype).max
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise UserError(f"'{self.key}' has type {images.dtype}; images are uint8, uint16, or floats in [0, 1]")
        return images.astype(jnp.float32)


def make_hashable(augment: Any, kind: type[ViewPolicy]) -> None:
    """Make tuples of the lists and dicts of a recipe in a frozen augment, and policies of `kind` of its `views`."""
    size = (augment.size, augment.size) if isinstance(augment.size, int) else tuple(augment.size)
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"augment.size={augment.size}; it has to be a positive int, or (rows, columns)")
    for name, value in {
        "size": size,
        "mean": tuple(float(m) for m in augment.mean),
        "std": tuple(float(s) for s in augment.std),
        "views": tuple((name, _policy(name, options, size, kind)) for name, options in dict(augment.views).items()),
    }.items():
        object.__setattr__(augment, name, value)


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Whether [B, H, W, C] are so few rows, or such square rest, that they must be [B, C, H, W]."""
    _, first, second, last = shape
    return first <= 4 < min(second, last) or first < second == last


def panel_of_views(views: Array, denormalise: Callable[[Array], Array], note: str = "") -> Panel:
    """A picture of normalised `views` [B, V, h, w, C]: a row for each example, a column for each view."""
    captions = tuple(f"view {number}" for number in range(1, views.shape[1] + 1))
    return Pictures(denormalise(views), captions, note)


def view_keys(keys: Array, name: str, count: int) -> Array:
    """Keys [B, `count`] of the views of policy `name`, from the keys [B] of the examples; the same in every process."""
    views = jnp.asarray(view_numbers(name, count))
    return jax.vmap(lambda key: jax.vmap(partial(jax.random.fold_in, key))(views))(keys)


def _policy(
    name: str, options: Mapping[str, Any] | ViewPolicy, size: tuple[int, int], kind: type[ViewPolicy]
) -> ViewPolicy:
    """The policy of a `kind` that `options` describe, of `size` unless they say another."""
    if isinstance(options, ViewPolicy):
        return options if options.size else replace(options, size=size)
    known = [f.name for f in fields(kind)]
    for option in options:
        if option not in known:
            close = difflib.get_close_matches(option, known, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"
            raise UserError(f"augment.views.{name} has no option '{option}'; {hint}")
    try:
        return _policy(name, kind(**options), size, kind)
    except UserError as error:
        raise UserError(f"augment.views.{name}.{error}") from None


def check_views(views: Any) -> None:
    """UserError where the options that the augments of pictures and of clips share have no meaning."""
    if not views.mean or not views.std or min(views.std) <= 0:
        raise UserError(
            f"augment.mean={views.mean}, augment.std={views.std}: give one value or one a channel, std above 0"
        )
    if not views.views:
        raise UserError(
            f"augment.views is empty; name at least one policy, e.g. views=dict({views.inputs[0]}=dict(count=2))"
        )
    for name, policy in views.policies.items():
        if policy.like is not None and policy.like not in views.policies:
            others = ", ".join(views.policies)
            raise UserError(f"augment.views.{name}.like={policy.like!r}: one of the other policies, {others}")
    if not 0 < views.crop_fraction <= 1:
        raise UserError(f"augment.crop_fraction={views.crop_fraction}: give a fraction of the image in (0, 1]")
    if views.interpolation not in ops.INTERPOLATIONS:
        raise UserError(f"augment.interpolation='{views.interpolation}': one of {', '.join(ops.INTERPOLATIONS)}")
