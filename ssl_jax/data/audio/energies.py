"""Batches of waves on the device -> views that are series of log energies, for an encoder of sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import jax.numpy as jnp
from jax import Array

from ssl_jax.data.audio.logmel import LogMel
from ssl_jax.data.audio.spectrograms import check_moments, greys, upright
from ssl_jax.data.audio.views import WaveViews
from ssl_jax.data.augment import Batch, Views
from ssl_jax.data.panels import Panel, Pictures


@dataclass(frozen=True)
class EnergyViews(WaveViews):
    """What `WaveViews` gives, as `energies` float32 [B, V, N, F], normalised, and `valid` bool [B, V, N]; channels are averaged.

    A frame is valid where all of its samples are recorded; others are 0, the mean. So small an encoder of sequences as a CPU can
    train need not find out what a spectrum is.

    mean, std: of log energies, one number or one for each band; `ssl-jax data stats` finds them.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    inputs: ClassVar = ("energies", "valid")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(x) for x in getattr(self, name)))
        check_moments(self.mean, self.std, self.logmel.bands)

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The `inputs` [B, V, N, ...], each view cut at a place of its own and changed."""
        return self._heard(super().__call__(keys, batch))

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The `inputs` [B, N, ...]: the middle of every clip, unchanged."""
        return self._heard(super().evaluation(batch, policy))

    def panel(self, views: Views) -> dict[str, Panel]:
        """The views side by side, time to the right and low frequencies at the bottom."""
        captions = tuple(f"view {i + 1}" for i in range(views["energies"].shape[1]))
        return {"spectrograms": Pictures(upright(greys(views["energies"][..., None])), captions)}

    @property
    def logmel(self) -> LogMel:
        """The front end."""
        return cast(LogMel, self.mel)  # since __post_init__

    def _heard(self, waves: Views) -> Views:
        """Series of energies of waves [..., T]."""
        wave, valid = waves["wave"], waves["valid"]
        mono = wave if wave.ndim == valid.ndim else wave.mean(axis=-1)
        x = (self.logmel(mono) - jnp.asarray(self.mean)) / jnp.asarray(self.std)
        there = jnp.arange(x.shape[-2]) < self.logmel.frames_of(valid.sum(axis=-1))[..., None]
        return {"energies": jnp.where(there[..., None], x, 0), "valid": there}
