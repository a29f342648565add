"""Synthetic time series with known factors: seasons, trends, regimes and injected anomalies. Needs no data.

No substitute for measurements: what is read off these series well shows that a method finds what was put in, no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ssl_jax.data.sources.arrays import check_split
from ssl_jax.data.sources.base import Record
from ssl_jax.errors import UserError

SPLITS = {"pretrain": 20_000, "probe": 2000, "test": 2000}
ANOMALIES = {"pretrain": 0.0, "probe": 0.0, "test": 0.25}  # the share of records with one
PERIODS = (10.0, 28.0)  # steps of a season
DWELL = 20  # steps that a regime lasts, on average
QUIET = 0.35  # the amplitude in the second regime
DRIFT = 2.0  # how much longer the last period of a drifting season is than its first

# A season's form over one turn [0, 1), with mean 0 and deviation 1, or nearly.
SEASONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sine": lambda turn: np.sqrt(2) * np.sin(2 * np.pi * turn),
    "square": lambda turn: np.where(turn < 0.5, 1.0, -1.0),
    "sawtooth": lambda turn: np.sqrt(3) * (2 * turn - 1),
    "pulses": lambda turn: np.where(turn < 0.2, 2.0, -0.5),
}
DYNAMICS = ("steady", "drifting", "switching")
WRONG = ("spike", "shift", "flat", "burst")  # kinds of anomalies


class Whole(NamedTuple):
    """A series [T, C] without noise, which regime holds at each step [T], and the numbers that it was made by."""

    values: np.ndarray
    regime: np.ndarray
    factors: dict[str, float]


@dataclass(frozen=True, eq=False)
class GeneratedSeries:
    """Synthetic series: a season of one of four forms that is steady, grows longer, or switches between loud and quiet.

    A record has `series` float32 [length, channels] (0 where `valid` is False), `valid` bool of that shape, `label` int32 (the
    form and the dynamics, twelve classes), `factors` float32 [3] (period of the first turn in steps, trend in deviations over the
    window, deviation of the noise), `regime` int32 [length] (1: quiet), `future` float32 [horizon, channels] with `future_valid`,
    and `anomaly` int32 [length]: 1 where a spike, a shift of level, a flat stretch or a burst of noise was put in.

    Channels differ in phase and gain. Record i is a function of (`seed`, split, i). count: records (default: 20,000 of pretrain,
    2,000 of probe and test). anomalies: the share of records with one (default: 0, and 0.25 of test). missing: the share of
    values that are missing, in stretches. noise: the greatest deviation of the noise.
    """

    split: str = "pretrain"
    length: int = 128
    channels: int = 2
    horizon: int = 32
    count: int | None = None
    anomalies: float | None = None
    missing: float = 0.0
    noise: float = 0.6
    seed: int = 0

    classes: ClassVar[tuple[str, ...]] = tuple(f"{form}, {way}" for form in SEASONS for way in DYNAMICS)
    labels: ClassVar = {"factors": (), "regime": ("loud", "quiet"), "anomaly": ("normal", "anomaly")}

    def __post_init__(self) -> None:
        check_split(self.split, tuple(SPLITS))
        if self.length < 16 or self.channels < 1 or self.horizon < 1 or (self.count is not None and self.count < 1):
            raise UserError(
                f"length={self.length}, channels={self.channels}, horizon={self.horizon}, count={self.count}: use at least 16 "
                "steps, 1 channel, 1 step to forecast, and 1 record"
            )
        if not 0 <= self.missing < 1 or not 0 <= (self.anomalies or 0) <= 1 or self.noise < 0:
            raise UserError(
                f"missing={self.missing}, anomalies={self.anomalies}, noise={self.noise}: shares are from 0 to 1"
            )

    def __len__(self) -> int:
        return self.count or SPLITS[self.split]

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        rng = np.random.default_rng([self.seed, list(SPLITS).index(self.split), index])
        label = int(rng.integers(len(self.classes)))
        form, way = divmod(label, len(DYNAMICS))
        whole = drawn(rng, self.length + self.horizon, self.channels, tuple(SEASONS)[form], DYNAMICS[way])
        noise = rng.uniform(0.2, 1.0) * self.noise
        values = (whole.values + noise * rng.normal(size=whole.values.shape)).astype(np.float32)
        marks = np.zeros(self.length, np.int32)
        if rng.random() < (ANOMALIES[self.split] if self.anomalies is None else self.anomalies):
            marks = put_in(rng, values[: self.length])
        valid = ~gaps(rng, values[: self.length].shape, self.missing)
        return {
            "series": np.where(valid, values[: self.length], 0),
            "valid": valid,
            "future": values[self.length :],
            "future_valid": np.ones((self.horizon, self.channels), bool),
            "label": np.asarray(label, np.int32),
            "factors": np.array([*whole.factors.values(), noise], np.float32),
            "regime": whole.regime[: self.length].astype(np.int32),
            "anomaly": marks,
        }

    @staticmethod
    def example(length: int = 128, channels: int = 2, horizon: int = 32, **_: object) -> Record:
        """A record of the shapes that all have, for `ssl-jax plan`."""
        return GeneratedSeries("pretrain", length, channels, horizon)[0]

    def fingerprint(self) -> str:
        """SHA-256 of the options: records are functions of them."""
        return hashlib.sha256(f"generated series 1 {self}".encode()).hexdigest()


def drawn(rng: np.random.Generator, steps: int, channels: int, form: str, way: str) -> Whole:
    """A series of `steps` steps without noise."""
    low, high = np.log(PERIODS)
    period, trend = float(np.exp(rng.uniform(low, high))), float(rng.normal(0, 0.5))
    time = np.arange(steps)
    periods = np.linspace(period, DRIFT * period, steps) if way == "drifting" else np.full(steps, period)
    turns = np.cumsum(1 / periods)[:, None] + rng.random(channels)
    regime = regimes(rng, steps) if way == "switching" else np.zeros(steps, bool)
    loudness = np.where(regime, QUIET, 1.0)[:, None] * rng.uniform(0.7, 1.4, channels)
    values = loudness * SEASONS[form](turns % 1) + trend * (time / steps - 0.5)[:, None] * rng.choice([-1, 1], channels)
    return Whole(values, regime, {"period": period, "trend": trend})


def regimes(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Bool [steps]: two regimes that take turns, each for a geometric time of at least four steps."""
    stays = 4 + rng.geometric(1 / (DWELL - 4), size=steps // 4 + 1)
    number = np.repeat(np.arange(len(stays)), stays)[:steps]
    return (number + rng.integers(2)) % 2 == 1


def put_in(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Change `values` [T, C] where they are at one place, in one of the ways `WRONG`; marks int32 [T]."""
    kind, steps = WRONG[rng.integers(len(WRONG))], len(values)
    size = 1 if kind == "spike" else int(rng.integers(6, 16))
    at = slice(start := int(rng.integers(0, steps - size)), start + size)
    if kind == "flat":
        values[at] = values[at].mean(axis=0)
    elif kind == "burst":
        values[at] += rng.normal(0, 2.0, values[at].shape)
    else:
        values[at] += rng.choice([-1, 1]) * rng.uniform(3.0, 5.0)
    marks = np.zeros(steps, np.int32)
    marks[at] = 1
    return marks


def gaps(rng: np.random.Generator, shape: tuple[int, ...], share: float, length: int = 8) -> np.ndarray:
    """Bool [T, C]: about a `share` of the values, in stretches of up to `length` steps of one channel; never all of a channel."""
    steps, channels = shape
    gone = np.zeros(shape, bool)
    for _ in range(round(share * steps * channels / (length / 2 + 0.5))):
        start = int(rng.integers(0, steps - 1))
        gone[start : start + int(rng.integers(1, length + 1)), rng.integers(channels)] = True
    gone[-1] = False
    return gone
