"""Batches of waves on the device -> views for an encoder of waves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, cast

import jax
import numpy as np
from jax import Array

from ssl_jax.data.audio import waves
from ssl_jax.data.audio.changes import WaveChanges, changes_of
from ssl_jax.data.audio.logmel import LogMel, logmel_of, moments
from ssl_jax.data.audio.waves import Clip
from ssl_jax.data.augment import Batch, Views
from ssl_jax.data.panels import Panel, Signals
from ssl_jax.errors import UserError

_LOUDEST = 16.0  # a float wave is in about [-1, 1]; beyond this it was never scaled


@dataclass(frozen=True)
class WaveViews:
    """Random stretches of each clip, as `wave` float32 [B, V, T] and `valid` bool [B, V, T]; [B, V, T, C] where records have
    channels.

    Records have `wave` [T] or [T, C], floats in about [-1, 1] or int16, and `valid` bool [T] where clips differ in length.

    rate: samples a second, that of the source.
    seconds: of a view; None for whole records. Evaluation sees as much, from the middle of the clip.
    count: views of each clip.
    changes: options of `WaveChanges`.
    mel: options of `LogMel`, or the name of one, whose mean and standard deviation over time are the raw row.
    """

    rate: int
    seconds: float | None = None
    count: int = 1
    changes: Mapping[str, Any] | WaveChanges = field(default_factory=WaveChanges)
    mel: str | Mapping[str, Any] | LogMel = "htk"

    inputs: ClassVar = ("wave", "valid")

    def __post_init__(self) -> None:
        if self.rate < 1 or self.count < 1 or (self.seconds is not None and self.seconds <= 0):
            raise UserError(
                f"augment.rate={self.rate}, count={self.count}, seconds={self.seconds}: all have to be above 0"
            )
        object.__setattr__(self, "changes", changes_of(self.changes, "augment.changes"))
        object.__setattr__(self, "mel", logmel_of(self.mel, self.rate, "augment.mel"))

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """The `inputs` [B, V, T, ...], each view cut at a place of its own and changed."""
        return changed_cuts(keys, waves.clips(batch), self.count, self._size(batch), self.changes)._asdict()

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """The `inputs` [B, T, ...]: the middle of every clip, unchanged."""
        return jax.vmap(partial(waves.central_cut, size=self._size(batch)))(waves.clips(batch))._asdict()

    def plain(self, batch: Batch) -> Array:
        """Mean and standard deviation over time of each band's log energy, [B, 2 F]."""
        return moments(cast(LogMel, self.mel), waves.clips(batch))

    def panel(self, views: Views) -> dict[str, Panel]:
        """The waves; what is not valid is shaded."""
        captions = tuple(f"view {i + 1}" for i in range(views["wave"].shape[1]))
        hidden = ~np.asarray(views["valid"])
        return {"waves": Signals(views["wave"], captions, rate=self.rate, unit="second", hidden=hidden)}

    def check(self, records: Iterable[Mapping[str, Any]]) -> None:
        """UserError for a wave that was never scaled, or holds what is no number."""
        check_scale(records)

    def _size(self, batch: Batch) -> int:
        return batch["wave"].shape[1] if self.seconds is None else max(1, round(self.seconds * self.rate))


def changed_cuts(keys: Array, clips: Clip, count: int, size: int, changes: Any) -> Clip:
    """`count` random stretches of `size` samples of each clip [B, T, ...], changed: [B, V, size, ...], by the keys [B]."""
    each = jax.vmap(lambda key: jax.random.split(key, count))(keys)
    several = jax.vmap(partial(waves.random_cut, size=size), in_axes=(0, None))
    return changes(each, jax.vmap(several)(jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, 0)))(each), clips))


def check_scale(records: Iterable[Mapping[str, Any]]) -> None:
    """UserError for a `wave` of floats far beyond [-1, 1], or with NaN or infinity."""
    for record in records:
        wave = np.asarray(record.get("wave", 0.0))
        if wave.dtype.kind == "f" and not np.abs(wave).max(initial=0) <= _LOUDEST:
            raise UserError(
                f"a wave reaches {np.abs(wave).max():.3g}; floats are in [-1, 1]: divide 16-bit samples by 32768, and leave out "
                "what is no number"
            )
