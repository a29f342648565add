"""Generated sounds whose makings are known: tones and chirps of four timbres under four envelopes. Needs no data.

No substitute for recordings: what reads the labels well has shown that it hears timbre and shape whatever the pitch, no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ssl_jax.data.sources.arrays import check_split
from ssl_jax.data.sources.audio_files import samples
from ssl_jax.data.sources.base import Record
from ssl_jax.errors import UserError

SPLITS = {"pretrain": 4000, "probe": 1000, "test": 1000}
GLIDES = ("falls", "stays", "rises")
_OCTAVES = 0.5  # that a chirp glides over

# Timbres as the strengths of a tone's first six harmonics; "rough" is a tone whose phase wanders.
TIMBRES: dict[str, tuple[float, ...]] = {
    "pure": (1.0,),
    "hollow": (1.0, 0.0, 0.5, 0.0, 0.33),
    "bright": (1.0, 0.8, 0.7, 0.6, 0.5, 0.4),
    "rough": (1.0, 0.5, 0.25),
}
# Envelopes as functions of the share of a sound that has passed, in [0, 1].
ENVELOPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "struck": lambda at: np.exp(-5 * at),
    "swelling": lambda at: np.exp(-5 * (1 - at)),
    "held": lambda at: np.minimum(1, 20 * np.minimum(at, 1 - at)),
    "trembling": lambda at: 0.55 + 0.45 * np.sin(2 * np.pi * 6 * at),
}


@dataclass(frozen=True, eq=False)
class GeneratedAudio:
    """Sounds of known makings: `wave` float32 [T] in [-1, 1], `valid` bool [T], `label` int32, timbre and envelope together.

    Also `timbre`, `envelope`, `glide` int32, and `pitch` float32, octaves above 110 Hz. A sound fills half to all of a record and
    is followed by silence, which is not `valid`; its pitch, loudness and the noise behind it are drawn, and say nothing of the
    label. Record i is a function of (`seed`, split, i).

    Args:
      rate: samples a second. seconds: of a record; T is their product.
      count: records (default: 4,000 of pretrain, 1,000 of probe and test).
    """

    split: str = "pretrain"
    rate: int = 8000
    seconds: float = 1.0
    count: int | None = None
    seed: int = 0

    classes: ClassVar[tuple[str, ...]] = tuple(f"{t}, {e}" for t in TIMBRES for e in ENVELOPES)
    labels: ClassVar = {"timbre": tuple(TIMBRES), "envelope": tuple(ENVELOPES), "glide": GLIDES, "pitch": ()}

    def __post_init__(self) -> None:
        check_split(self.split, tuple(SPLITS))
        if self.rate < 4000 or self.seconds <= 0 or (self.count is not None and self.count < 1):
            raise UserError(
                f"rate={self.rate}, seconds={self.seconds}, count={self.count}: at least 4000 a second, some time, and 1 record"
            )

    def __len__(self) -> int:
        return self.count or SPLITS[self.split]

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        rng = np.random.default_rng([self.seed, list(SPLITS).index(self.split), index])
        return _record(rng, samples(self.rate, self.seconds), self.rate)

    @staticmethod
    def example(rate: int = 8000, seconds: float = 1.0, **_: object) -> Record:
        """A record of zeros, for `ssl-jax plan`."""
        return _record(np.random.default_rng(0), samples(rate, seconds), rate)

    def fingerprint(self) -> str:
        """SHA-256 of the options: records are functions of them."""
        told = f"sounds 1 {self.split} {self.rate} {self.seconds} {len(self)} {self.seed}"
        return hashlib.sha256(told.encode()).hexdigest()


def _record(rng: np.random.Generator, length: int, rate: int) -> Record:
    timbre, envelope, glide = (int(rng.integers(n)) for n in (len(TIMBRES), len(ENVELOPES), len(GLIDES)))
    pitch, sounding = rng.uniform(0, 3), int(length * rng.uniform(0.5, 1))
    at = np.arange(sounding) / sounding
    sound = _tone(rng, at, 110 * 2**pitch, (glide - 1) * _OCTAVES, timbre, sounding / rate)
    sound = sound * tuple(ENVELOPES.values())[envelope](at) * rng.uniform(0.1, 0.6)
    sound = sound + rng.normal(0, 0.1 * rng.random() * np.sqrt(np.mean(sound**2)), sounding)
    wave = np.zeros(length, np.float32)
    wave[:sounding] = np.clip(sound, -1, 1)
    factors = {"timbre": timbre, "envelope": envelope, "glide": glide, "label": timbre * len(ENVELOPES) + envelope}
    numbers = {name: np.asarray(value, np.int32) for name, value in factors.items()}
    return {"wave": wave, "valid": np.arange(length) < sounding} | numbers | {"pitch": np.asarray(pitch, np.float32)}


def _tone(
    rng: np.random.Generator, at: np.ndarray, hertz: float, octaves: float, timbre: int, seconds: float
) -> np.ndarray:
    """A tone [T] at places `at` in [0, 1) of its length, which glides by so many octaves; its power is that of a sine."""
    name, strengths = tuple(TIMBRES.items())[timbre]
    turns = np.cumsum(hertz * 2 ** (octaves * at)) * seconds / len(at)
    if name == "rough":
        turns = turns + 0.02 * np.cumsum(rng.normal(0, 1, len(at)))
    parts = [s * np.sin(2 * np.pi * (n * turns + rng.random())) for n, s in enumerate(strengths, 1) if s]
    return np.sum(parts, axis=0) / np.linalg.norm(strengths)
