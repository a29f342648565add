"""`ssl_jax.load`: the encoder of a run as a function of records, in a few lines of Python.

encode = ssl_jax.load("runs/x")
features = encode(images)               # uint8 or float [N, H, W, C] -> float32 [N, F]
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.errors import UserError
from ssl_jax.evaluate.encoders import Found, encoder_from
from ssl_jax.evaluate.features import Features, extract_readings
from ssl_jax.evaluate.readings import OWN, Reading, reading_named
from ssl_jax.objectives.base import Encoder

ORDERS = ("last", "first")


class Encode:
    """Call it with records: float32 [N, F], to the last bit what `ssl-jax eval` has of the same records in the same order.

    Records go through the network in batches of `batch_size`, as there, the last one filled up; for a few at a time a smaller one
    is quicker, and may change the last bits.
    """

    def __init__(self, found: Found, reading: Reading, batch_size: int) -> None:
        self._found, self._reading, self._batch_size = found, reading, batch_size

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        return self._found.encoder

    @property
    def step(self) -> int:
        """The training step of its weights."""
        return self._found.opened.step

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the records that the run was trained on; the encoder reads those that it needs."""
        return tuple(self._found.opened.records.fields)

    def __call__(
        self, images: np.ndarray | Mapping[str, np.ndarray] | None = None, channels: str = "last", **fields: Any
    ) -> np.ndarray:
        """Features of images, or of other records by their fields.

        Args:
          images: [N, H, W, C], or [N, H, W] of grey ones, or one of these without N; uint8, or float in [0, 1]. Any height and
            width: they are brought to the size of evaluation. A dict is `fields`.
          channels: where C is: "last", or "first" for [N, C, H, W].
          **fields: arrays [N, ...] by the names of the records' fields (`tokens`, `valid`, ...), for what is no image.

        Returns:
          float32 [N, F]; [N, T, D] for a reading of tokens. For one image without N: [F].

        Raises UserError for arrays that are no such records.
        """
        given = dict(images) if isinstance(images, Mapping) else fields
        if images is None or isinstance(images, Mapping):
            return self._features(given)
        batch, single = _as_images(images, channels, self._colours())
        found = self._features(given | {self._key(): batch})
        return found[0] if single else found

    def _features(self, fields: Mapping[str, Any]) -> np.ndarray:
        encoder, variables, mesh = self._found.encoder, self._found.variables, self._found.opened.mesh
        with jax.set_mesh(mesh):
            source = Arrays({name: np.asarray(x) for name, x in fields.items()})
            found = extract_readings({"x": (encoder, variables)}, source, (self._reading,), self._batch_size)
        if ("x", self._reading) not in found:
            raise UserError(f"this encoder gives no reading {self._reading}; use own")
        features: Features = found["x", self._reading]
        return np.asarray(features.x)

    def _key(self) -> str:
        """The field that has the images."""
        key = getattr(self._found.opened.objective.augment, "key", "image")
        if key not in self._found.opened.records.fields:
            raise UserError(
                f"this encoder takes no images but {', '.join(self.fields)}; give them by name, encode({self.fields[0]}=...)"
            )
        return str(key)

    def _colours(self) -> int:
        return int(self._found.opened.records.fields[self._key()].shape[-1])


def load(
    run: str | os.PathLike[str],
    step: int | None = None,
    encoder: str | None = None,
    *,
    reading: str = "own",
    batch_size: int = 256,
    allow: tuple[str, ...] = (),
) -> Encode:
    """The encoder of a run as a function: `ssl_jax.load("runs/x")(images)`.

    Args:
      run: a run directory, or `runs/x:teacher` for one of its encoders.
      step: which checkpoint; None for the newest.
      encoder: the name of an encoder (student, teacher, image, text, ...); None for the one that the recipe evaluates.
      reading: "own" for what the encoder gives, or "class", "mean", "tokens", of another layer as "mean@-4" (`readings.py`).
      batch_size: how many records are encoded at a time.
      allow: packages besides `ssl_jax` whose code the recipe may run.

    Raises UserError for no run, no such checkpoint or encoder, and a checkpoint that is damaged.
    """
    return Encode(
        encoder_from(run, step, allow, encoder), OWN if reading == "own" else reading_named(reading), batch_size
    )


def _as_images(images: Any, channels: str, colours: int) -> tuple[np.ndarray, bool]:
    """Images [N, H, W, C], uint8 or float32, and whether it was one."""
    x = np.asarray(images)
    if channels not in ORDERS:
        raise UserError(f"channels={channels!r} is unknown; use one of {', '.join(ORDERS)}")
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise UserError(f"images of {x.dtype} have no known range; give uint8, or floats in [0, 1]")
    if x.dtype.kind == "f" and x.size and not (x.min() >= 0 and x.max() <= 1):
        raise UserError(
            f"images as floats lie in [0, 1], and these from {x.min():g} to {x.max():g}; divide by their largest value"
        )
    if colours == 1 and (x.ndim == 2 or (x.ndim == 3 and x.shape[0 if channels == "first" else -1] != 1)):
        x = x[..., None] if channels == "last" else np.expand_dims(x, -3)
    single = x.ndim == 3
    x = x[None] if single else x
    x = np.moveaxis(x, 1, -1) if channels == "first" and x.ndim == 4 else x
    if x.ndim != 4 or x.shape[-1] != colours:
        raise UserError(
            f"images of shape {np.shape(images)} with channels {channels}: this encoder takes [N, H, W, {colours}], or "
            f"[N, {colours}, H, W] with channels='first'"
        )
    return (x if x.dtype == np.uint8 else x.astype(np.float32)), single
