"""Batches of waves on the device -> views that are spectrograms, pictures to any encoder of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.audio import stft, waves
from ssl_jax.data.audio.changes import WaveChanges, changes_of
from ssl_jax.data.audio.logmel import LogMel, logmel_of, moments
from ssl_jax.data.audio.masking import spec_augment
from ssl_jax.data.audio.views import changed_cuts, check_scale
from ssl_jax.data.audio.waves import Clip, Range
from ssl_jax.data.augment import Batch, Views
from ssl_jax.data.panels import Panel, Pictures
from ssl_jax.data.units import Units, seconds_of_audio
from ssl_jax.errors import UserError

_SHOWN = 3.0  # standard deviations on either side of the mean that a picture shows


@dataclass(frozen=True)
class SpectrogramViews:
    """Log-mel spectrograms of random stretches of each clip: `spectrogram` float32 [B, V, T, F, C], normalised.

    Records have `wave` [T] (C is 1) or [T, C], floats in about [-1, 1] or int16, and `valid` bool [T] where clips differ in
    length. Frames that reach beyond a clip's end are the mean, or `fill`.

    rate: samples a second, that of the source.
    frames: of a view. seen: of evaluation, from the middle of the clip; None for as many.
    mel: options of `LogMel`, or the name of one.
    mean, std: of log energies, one number or one for each band; `ssl-jax data stats` finds them.
    count: views of each clip.
    changes: options of `WaveChanges`, before the transform.
    stretch: tempo drawn between the two, by a phase vocoder; `interpolate`: the same on log energies, between frames.
    zoom: shares drawn between the two, apart for time and frequency, of the plane that a view is cut from; more than all of it
      shrinks it, with the mean around (BYOL-A: 0.6 to 1.5).
    masked_bands, masked_frames: the largest width and the number of SpecAugment's masks; `masked_share` is the share of a
      clip's frames that one of time may have at most.
    fill: the log energy of frames beyond a clip's end; None for the mean. AST and AudioMAE have 0.0, far above any silence.
    centred: whether each wave loses its mean first, as there.
    """

    rate: int
    frames: int
    seen: int | None = None
    mel: str | Mapping[str, Any] | LogMel = "htk"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    count: int = 1
    changes: Mapping[str, Any] | WaveChanges = field(default_factory=WaveChanges)
    stretch: tuple[float, float] = (1.0, 1.0)
    interpolate: tuple[float, float] = (1.0, 1.0)
    zoom: tuple[float, float] = (1.0, 1.0)
    masked_bands: tuple[int, int] = (0, 0)
    masked_frames: tuple[int, int] = (0, 0)
    masked_share: float = 1.0
    fill: float | None = None
    centred: bool = False

    inputs: ClassVar = ("spectrogram",)

    def __post_init__(self) -> None:
        made: dict[str, Any] = {name: tuple(getattr(self, name)) for name in (*_RATES, *_MASKS)}
        made |= {name: tuple(float(x) for x in getattr(self, name)) for name in ("mean", "std")}
        made |= {"changes": changes_of(self.changes, "augment.changes")}
        made |= {"mel": logmel_of(self.mel, self.rate, "augment.mel")}
        for name, value in made.items():
            object.__setattr__(self, name, value)  # tuples and values, so that a recipe's lists and dicts can be hashed
        _check(self)

    def __call__(self, keys: Array, batch: Batch) -> Views:
        """{"spectrogram": [B, V, T, F, C]}, each view cut at a place of its own and changed."""
        clips = changed_cuts(keys, self._clips(batch), self.count, self._read, self.changes)
        each = jax.vmap(lambda key: jax.random.split(key, self.count))(keys)
        return {"spectrogram": jax.vmap(jax.vmap(self._view))(each, clips)}

    def evaluation(self, batch: Batch, policy: str = "") -> Batch:
        """{"spectrogram": [B, T, F, C]} of the middle of every clip; as long as the views for what needs that (`policy`)."""
        frames = self.frames if policy else self.seen or self.frames
        cut = partial(waves.central_cut, size=self.logmel.samples(frames))
        return {"spectrogram": jax.vmap(self._normal)(jax.vmap(cut)(self._clips(batch)))}

    def plain(self, batch: Batch) -> Array:
        """Mean and standard deviation over time of each band's log energy, [B, 2 F]."""
        return moments(self.logmel, self._clips(batch))

    def panel(self, views: Views) -> dict[str, Panel]:
        """The views side by side, time to the right and low frequencies at the bottom."""
        captions = tuple(f"view {i + 1}" for i in range(views["spectrogram"].shape[1]))
        return {"spectrograms": Pictures(self.upright(self.denormalise(views["spectrogram"])), captions)}

    def check(self, records: Iterable[Mapping[str, Any]]) -> None:
        """UserError for a wave that was never scaled, or holds what is no number."""
        check_scale(records)

    def units(self, batch: Mapping[str, Any]) -> Units:
        """Seconds of recorded audio."""
        return seconds_of_audio({k: np.asarray(batch[k]) for k in ("wave", "valid") if k in batch}, self.rate)

    def denormalise(self, x: Array) -> Array:
        """Normalised energies [..., T, F, C] -> greys in [0, 1]: three standard deviations on either side of the mean."""
        return greys(x)

    def upright(self, x: Array) -> Array:
        """Planes [..., T, F, C] as people look at them, [..., F, T, C]: time to the right, low frequencies at the bottom."""
        return upright(x)

    @property
    def logmel(self) -> LogMel:
        """The front end."""
        return cast(LogMel, self.mel)  # since __post_init__

    @property
    def _read(self) -> int:
        """Samples that a view is made of: more than it lasts, where it may be played faster."""
        faster = max(1.0, self.stretch[1] * self.interpolate[1])
        return self.logmel.samples(int(np.ceil(self.frames * faster)))

    def _clips(self, batch: Batch) -> Clip:
        """Clips [B, T, C]."""
        clips = waves.clips(batch)
        wave = clips.wave if clips.wave.ndim == 3 else clips.wave[..., None]
        mean = wave.mean(axis=1, keepdims=True, where=clips.valid[..., None])
        return (
            Clip(jnp.where(clips.valid[..., None], wave - mean, 0), clips.valid)
            if self.centred
            else Clip(wave, clips.valid)
        )

    def _view(self, key: Array, clip: Clip) -> Array:
        """One view [T, F, C] of a changed clip [t, C]."""
        draw = partial(jax.random.fold_in, key)
        faster, tempo = stft.rate_of(draw(10), *self.stretch), stft.rate_of(draw(11), *self.interpolate)
        spectra = self._spectra(clip)
        if self.stretch != (1.0, 1.0):
            spectra = jax.vmap(partial(stft.stretched, rate=faster, hop=self.logmel.step, size=self.logmel.width))(
                spectra
            )
        x = self._energies(spectra)
        if self.interpolate != (1.0, 1.0):
            x = stft.interpolated(x.reshape(len(x), -1), tempo).reshape(x.shape)
        length = jnp.floor(self.logmel.frames_of(clip.length) / (faster * tempo)).astype(jnp.int32)
        x, length = self._filled(x[: self.frames], length), jnp.minimum(length, self.frames)
        if self.zoom != (1.0, 1.0):
            x = zoomed(draw(12), x, self.zoom)
        return spec_augment(draw(13), x, length, self.masked_bands, self.masked_frames, self.masked_share)

    def _normal(self, clip: Clip) -> Array:
        """The spectrogram [T, F, C] of a clip [t, C]."""
        return self._filled(self._energies(self._spectra(clip)), self.logmel.frames_of(clip.length))

    def _spectra(self, clip: Clip) -> Array:
        return self.logmel.transform(clip.wave.T)

    def _energies(self, spectra: Array) -> Array:
        """Normalised log energies [T, F, C] of spectra [C, T, K]."""
        energies = jnp.moveaxis(self.logmel.energies(spectra), 0, -1)
        return (energies - jnp.asarray(self.mean)[:, None]) / jnp.asarray(self.std)[:, None]

    def _filled(self, x: Array, length: Array) -> Array:
        """Energies with frames from `length` on filled."""
        fill = 0.0 if self.fill is None else (self.fill - jnp.asarray(self.mean)) / jnp.asarray(self.std)
        return jnp.where((jnp.arange(len(x)) < length)[:, None, None], x, jnp.reshape(fill, (-1, 1)))


def greys(x: Array) -> Array:
    """Normalised energies -> greys in [0, 1]: three standard deviations on either side of the mean."""
    return jnp.clip(0.5 + x / (2 * _SHOWN), 0, 1)


def upright(x: Array) -> Array:
    """Planes [..., T, F, C] as people look at them, [..., F, T, C]: time to the right, low frequencies at the bottom."""
    return jnp.flip(jnp.swapaxes(x, -3, -2), axis=-3)


def check_moments(mean: tuple[float, ...], std: tuple[float, ...], bands: int) -> None:
    """UserError for means or deviations of log energies that are neither one number nor one for each band, or not above 0."""
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, bands):
            raise UserError(
                f"augment.{name} has {len(values)} numbers for {bands} bands; give 1 or {bands}: ssl-jax data stats"
            )
    if min(std) <= 0:
        raise UserError(f"augment.std={std}: all have to be above 0")


_RATES, _MASKS = ("stretch", "interpolate", "zoom"), ("masked_bands", "masked_frames")


def zoomed(key: Array, x: Array, factors: Range) -> Array:
    """A spectrogram [T, F, C] of which a part is cut, or which is shrunk, to its own size; zeros, the mean, lie around it.

    The part has drawn shares of its time and of its bands, and a drawn place: inside where it is smaller, around where larger.
    """
    size, place = jax.random.split(key)
    share = jax.random.uniform(size, (2,), minval=factors[0], maxval=factors[1])
    full = jnp.asarray(x.shape[:2], jnp.float32)
    start = jax.random.uniform(place, (2,)) * (1 - share) * full
    scale = 1 / share
    return jax.image.scale_and_translate(x, x.shape, (0, 1), scale, -start * scale, "linear", antialias=False)


def _check(views: SpectrogramViews) -> None:
    if views.rate < 1 or views.frames < 1 or views.count < 1 or (views.seen or 1) < 1:
        raise UserError(
            f"augment.rate={views.rate}, frames={views.frames}, seen={views.seen}, count={views.count}: all have to be at least 1"
        )
    check_moments(views.mean, views.std, views.logmel.bands)
    for name in _RATES:
        low, high = getattr(views, name)
        if not 0 < low <= high:
            raise UserError(f"augment.{name}={(low, high)}: two numbers above 0, in order, as (0.8, 1.25)")
    for name in _MASKS:
        if len(getattr(views, name)) != 2 or min(getattr(views, name)) < 0:
            raise UserError(f"augment.{name}={getattr(views, name)}: the largest width and how many, as (27, 2)")
