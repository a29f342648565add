"""Log energies in mel bands, as libraries make them: `LogMel` and its settings by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.audio import stft
from ssl_jax.data.audio.mel import BANKS, bank
from ssl_jax.data.audio.waves import Clip
from ssl_jax.errors import UserError

# What the named front ends do otherwise than `htk`; times in milliseconds. `kaldi` is that of AST and AudioMAE.
NAMED: dict[str, dict[str, Any]] = {
    "htk": {},
    "kaldi": {
        "bank": "kaldi",
        "low": 20.0,
        "dc": 1.0,
        "preemphasis": 0.97,
        "floor": 1.192092955078125e-07,
        "periodic": False,
    },
    "slaney": {"bank": "slaney", "floor": 1e-10, "centred": True},
}


@dataclass(frozen=True)
class LogMel:
    """Waves -> natural logarithms of the energy in mel bands, float32.

    rate: samples a second.
    bands: how many. bank: "kaldi", "htk" or "slaney" (`data/audio/mel.py`), from `low` to `high` hertz (None: half the rate).
    window, hop: milliseconds of a frame, under a Hann window, and between two of them.
    points: samples of the transform; None for the power of two that a frame fits in.
    dc: the share of each frame's mean that is taken off; preemphasis: of each sample before.
    floor: the least energy. periodic: whether the window is that of libraries for music.
    centred: whether frame n has its middle at n hops, zeros lying before and behind the wave, instead of its start.

    >>> LogMel(8000, bands=40)(jnp.zeros((2, 8000))).shape
    (2, 98, 40)
    """

    rate: int
    bands: int = 64
    bank: str = "htk"
    low: float = 0.0
    high: float | None = None
    window: float = 25.0
    hop: float = 10.0
    points: int | None = None
    dc: float = 0.0
    preemphasis: float = 0.0
    floor: float = 1e-8
    periodic: bool = True
    centred: bool = False

    def __post_init__(self) -> None:
        if self.bank not in BANKS:
            raise UserError(f"bank={self.bank!r} is unknown; use one of {', '.join(BANKS)}")
        if not 0 <= self.low < self.top <= self.rate / 2:
            raise UserError(f"low={self.low}, high={self.high}: in order, and at most half of rate={self.rate}")
        if self.bands < 1 or self.step < 1 or not 1 < self.size <= self.width or self.floor <= 0:
            raise UserError(
                f"bands={self.bands}, window={self.window}, hop={self.hop}, points={self.points}, floor={self.floor}: at least "
                "one band, a hop of one sample, a window no longer than its transform, and a floor above 0"
            )

    @property
    def size(self) -> int:
        """Samples of a frame."""
        return round(self.rate * self.window / 1000)

    @property
    def step(self) -> int:
        """Samples between the starts of two frames."""
        return round(self.rate * self.hop / 1000)

    @property
    def width(self) -> int:
        """Samples of the transform."""
        return self.points or 1 << (self.size - 1).bit_length()

    @property
    def top(self) -> float:
        """The end of the highest band, in hertz."""
        return self.rate / 2 if self.high is None else self.high

    @property
    def margin(self) -> int:
        """Zeros on either side of the wave."""
        return self.width // 2 if self.centred else 0

    def __call__(self, wave: Array) -> Array:
        """Log energies [..., N, bands] of waves [..., T]."""
        return self.energies(self.transform(wave))

    def transform(self, wave: Array) -> Array:
        """Complex spectra [..., N, K] of waves [..., T]."""
        pad = [(0, 0)] * (wave.ndim - 1) + [(self.margin, self.margin)]
        taken = stft.frames(jnp.pad(wave, pad), self.taken, self.step)
        return stft.transformed(stft.conditioned(taken, self.dc, self.preemphasis), self.weights, self.width)

    def energies(self, transform: Array) -> Array:
        """Log energies [..., N, bands] of spectra [..., N, K]."""
        power = jnp.square(transform.real) + jnp.square(transform.imag)
        weights = bank(self.bank, self.rate, self.width, self.bands, self.low, self.top)
        return jnp.log(jnp.maximum(power @ weights, self.floor))

    @property
    def taken(self) -> int:
        """Samples that a frame reads: with `centred`, as many as the transform, and the window lies in their middle."""
        return self.width if self.centred else self.size

    @property
    def weights(self) -> np.ndarray:
        """The window [taken]."""
        around = (self.taken - self.size) // 2
        return np.pad(stft.hann(self.size, self.periodic), (around, self.taken - self.size - around))

    def frames_of(self, samples: Array | int) -> Array:
        """How many frames are whole in the first `samples`: int, elementwise."""
        return jnp.maximum(0, 1 + (jnp.asarray(samples) + 2 * self.margin - self.taken) // self.step)

    def count(self, samples: int) -> int:
        """The same for a number."""
        return stft.frame_count(samples + 2 * self.margin, self.taken, self.step)

    def samples(self, frames: int) -> int:
        """The fewest samples of which there are so many frames."""
        return self.taken - 2 * self.margin + (frames - 1) * self.step


def logmel_of(options: str | Mapping[str, Any] | LogMel, rate: int, where: str) -> LogMel:
    """The front end of a name, or of options (`name`: what they start from). UserError for what is none."""
    if isinstance(options, LogMel):
        return options
    said = {"name": options} if isinstance(options, str) else dict(options)
    name = said.pop("name", "htk")
    known = [each.name for each in fields(LogMel) if each.name != "rate"]
    unknown = [key for key in said if key not in known]
    if name not in NAMED or unknown:
        raise UserError(
            f"{where}={options!r}: a name ({', '.join(NAMED)}), or options with `name` and {', '.join(known)}"
        )
    try:
        return LogMel(rate, **NAMED[name] | said)
    except UserError as error:
        raise UserError(f"{where}.{error}") from None


def moments(mel: LogMel, clips: Clip) -> Array:
    """Mean and standard deviation over the frames of each clip's recorded part, [B, 2 F]; channels are averaged."""
    energies = mel(silenced_mono(clips))
    there = (jnp.arange(energies.shape[1]) < mel.frames_of(clips.valid.sum(axis=1))[:, None])[..., None]
    count = jnp.maximum(there.sum(axis=1), 1)
    mean = jnp.where(there, energies, 0).sum(axis=1) / count
    square = jnp.where(there, jnp.square(energies - mean[:, None]), 0).sum(axis=1) / count
    return jnp.concatenate([mean, jnp.sqrt(square)], axis=1)


def silenced_mono(clips: Clip) -> Array:
    """Waves [B, T] of clips [B, T] or [B, T, C]: the mean of their channels, zero where nothing is recorded."""
    return jnp.where(clips.valid, clips.wave if clips.wave.ndim == 2 else clips.wave.mean(axis=2), 0)
