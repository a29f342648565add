"""Batches of series on the device -> views of them.

Records have `series` float32 [T, C] and `valid` bool [T, C], which is False where a value is missing and where a record that is
shorter than the others is padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.augment import Batch, Views
from ssl_jax.data.panels import Panel, Signals
from ssl_jax.data.series import ops
from ssl_jax.errors import UserError


@dataclass(frozen=True)
class SeriesViews:
    """`count` views of each series, each drawn anew, in this order: what is cut, what is bent, what is left out, what is added.

    crop: the share of the steps that a view keeps, drawn between the two; the others are missing.
    window_slice: the share of a stretch that is drawn out to the whole length.
    time_warp: the deviation of the logarithm of time's speed.
    frequency_mask: the chance of each frequency to be left out.
    scaling: the deviation of the factor of a channel.
    jitter: the deviation of noise on every value.

    With the defaults a view is the record. Evaluation sees the record.
    """

    count: int = 1
    crop: tuple[float, float] = (1.0, 1.0)
    window_slice: tuple[float, float] = (1.0, 1.0)
    time_warp: float = 0.0
    frequency_mask: float = 0.0
    scaling: float = 0.0
    jitter: float = 0.0

    inputs: ClassVar = ("series", "valid")

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"augment.count={self.count}: at least one view of each series")
        for name in ("crop", "window_slice"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            low, *_, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise UserError(f"augment.{name}={getattr(self, name)}: two shares of a series in order, as (0.5, 1.0)")
        for name in ("time_warp", "scaling", "jitter"):
            if getattr(self, name) < 0:
                raise UserError(f"augment.{name}={getattr(self, name)} must be at least 0")
        if not 0 <= self.frequency_mask < 1:
            raise UserError(f"augment.frequency_mask={self.frequency_mask}: a chance of at least 0 and below 1")

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """`series` [B, V, T, C] and `valid` [B, V, T, C]."""
        given = self.evaluation(batch)
        each = jax.vmap(lambda key: jax.random.split(key, self.count))(keys)
        view = jax.vmap(jax.vmap(self._view, (0, None, None)))
        return dict(zip(self.inputs, view(each, given["series"], given["valid"]), strict=True))

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """`series` [B, T, C], 0 where a value is missing, and `valid` [B, T, C]."""
        valid = jnp.asarray(batch["valid"]).astype(bool)
        return {"series": jnp.where(valid, jnp.asarray(batch["series"]), 0), "valid": valid}

    def plain(self, batch: Batch) -> Array:
        """The window as it is [B, T * C], 0 where a value is missing."""
        series = self.evaluation(batch)["series"]
        return series.reshape(len(series), -1)

    def panel(self, views: Views) -> dict[str, Panel]:
        """Every view; gaps are where values are missing."""
        rows = np.where(np.asarray(views["valid"]), np.asarray(views["series"]), np.nan)
        captions = tuple(f"view {i + 1}" for i in range(rows.shape[1])) if rows.shape[1] > 1 else ("window",)
        return {"series": Signals(rows, captions)}

    def units(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """The values of a batch that are there."""
        return {"values": float(np.sum(batch["valid"]))}

    def check(self, records: Iterable[Mapping[str, Any]]) -> None:
        """UserError where a record is no series [T, C] with a `valid` of that shape, or holds what is not finite."""
        for record in records:
            series, valid = (np.asarray(record.get(name, 0)) for name in self.inputs)
            if series.ndim != 2 or valid.shape != series.shape or valid.dtype != bool:
                raise UserError(
                    f"a record has a series of shape {list(series.shape)} and a valid of {list(valid.shape)}; both are [steps, "
                    "channels], valid of true and false: name a source of series, as series:PATH"
                )
            if not np.isfinite(series[valid]).all():
                raise UserError("a record has values that are not finite; mark them as missing in valid")

    def _view(self, key: Array, series: Array, valid: Array) -> tuple[Array, Array]:
        """One view of a series [T, C]."""
        cut, slide, warp, mask, scale, noise = jax.random.split(key, 6)
        if self.crop[0] < 1:
            valid = ops.crop(cut, valid, self.crop)
        if self.window_slice[0] < 1:
            series, valid = ops.window_slice(slide, series, valid, self.window_slice)
        if self.time_warp:
            series, valid = ops.time_warp(warp, series, valid, self.time_warp)
        if self.frequency_mask:
            series = ops.frequency_mask(mask, series, self.frequency_mask)
        if self.scaling:
            series = ops.scaling(scale, series, self.scaling)
        if self.jitter:
            series = ops.jitter(noise, series, self.jitter)
        return jnp.where(valid, series, 0), valid
