"""How the waves of a batch are changed, as options of an augmentation: one value, composed of functions of `waves`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.audio import waves
from ssl_jax.data.audio.waves import Clip
from ssl_jax.data.sources.arrays import read_npz
from ssl_jax.errors import UserError

_LONGEST = 1 << 20  # samples of an impulse response


@dataclass(frozen=True)
class WaveChanges:
    """Changes of each view's wave, in this order; none by default.

    mix: the largest share of another clip of the batch, drawn for each view (BYOL-A mixes up to 0.4). The other clip is that of a
      row a drawn number further on, so such a view depends on the batch as well as on its key.
    roll: whether it begins at a random place, and goes on from its start when it ends.
    responses: the path of an `.npz` whose array `responses` [K, L] holds impulse responses at the waves' rate; one is drawn.
    gain: decibels, drawn between the two.
    snr: decibels that normal noise is below the wave's power, drawn between the two; () for no noise.
    """

    mix: float = 0.0
    roll: bool = False
    responses: str = ""
    gain: tuple[float, float] = (0.0, 0.0)
    snr: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", tuple(self.gain))
        object.__setattr__(self, "snr", tuple(self.snr))
        if not 0 <= self.mix < 1:
            raise UserError(f"mix={self.mix}: the largest share of another clip, from 0 and below 1")
        for name, value in (("gain", self.gain), ("snr", self.snr or (0.0, 0.0))):
            if len(value) != 2 or not value[0] <= value[1]:
                raise UserError(f"{name}={value}: two numbers of decibels in order, as (-6.0, 6.0)")

    def __call__(self, keys: Array, clips: Clip) -> Clip:
        """The clips [B, V, T, ...] after all changes, drawn from the keys [B, V]."""
        if self.mix:
            clips = self._mixed(keys, clips)
        for change in self.steps:
            clips = jax.vmap(jax.vmap(change))(keys, clips)
        return clips

    @property
    def steps(self) -> tuple[Any, ...]:
        """Functions (key, clip) -> clip of what is changed in one clip alone."""
        found = {
            1: waves.rolled if self.roll else None,
            2: partial(waves.reverberated, responses=jnp.asarray(_responses(self.responses)))
            if self.responses
            else None,
            3: partial(waves.gained, decibels=self.gain) if self.gain != (0.0, 0.0) else None,
            4: partial(waves.with_noise, snr=(self.snr[0], self.snr[1])) if self.snr else None,
        }
        return tuple(_drawing(number, change) for number, change in found.items() if change is not None)

    def _mixed(self, keys: Array, clips: Clip) -> Clip:
        which = jax.vmap(waves.partners, in_axes=1, out_axes=1)(_folded(keys, 5))
        there = jnp.arange(keys.shape[1])
        others = jax.tree.map(lambda x: x[which, there], clips)
        return jax.vmap(jax.vmap(partial(waves.mixed, most=self.mix)))(_folded(keys, 6), clips, others)


def changes_of(options: Mapping[str, Any] | WaveChanges, where: str) -> WaveChanges:
    """The changes that `options` describe. UserError for one that there is none of."""
    if isinstance(options, WaveChanges):
        return options
    known = [field.name for field in fields(WaveChanges)]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UserError(f"{where} has no option {unknown[0]!r}; there are {', '.join(known)}")
    try:
        return WaveChanges(**options)
    except UserError as error:
        raise UserError(f"{where}.{error}") from None


def _drawing(number: int, change: Any) -> Any:
    return lambda key, clip: change(jax.random.fold_in(key, number), clip)


def _folded(keys: Array, number: int) -> Array:
    return jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, number)))(keys)


@functools.lru_cache(maxsize=4)
def _responses(path: str) -> np.ndarray:
    """Impulse responses [K, L] of energy 1. UserError for what holds none."""
    found = read_npz(Path(path), {"responses": "responses"})["responses"].astype(np.float32)
    energy = np.linalg.norm(found, axis=-1, keepdims=True)
    if found.ndim != 2 or not 0 < found.shape[1] <= _LONGEST or not (np.isfinite(energy) & (energy > 0)).all():
        raise UserError(
            f"{path!r}: `responses` is {found.dtype} {found.shape}; it has to be finite numbers [K, L], no row all 0"
        )
    return found / energy
