"""Time series in files: windows by index, missing values and padding marked, normalised by the window or the channel."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ssl_jax.data.series import normal
from ssl_jax.data.series.files import Found, find, read
from ssl_jax.data.series.normal import KINDS, Moments, moments, moments_of_all
from ssl_jax.data.series.recordings import Recording
from ssl_jax.data.series.tables import Roles
from ssl_jax.data.sources import shards
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.fields import label_of
from ssl_jax.data.sources.shards import Shard
from ssl_jax.errors import UserError

Place = tuple[int, int]  # a recording, and the step at which a window begins


@dataclass(frozen=True, eq=False)
class SeriesFiles:
    """Series in `.ts`, `.csv`, `.npz` or `.parquet` files: `SeriesFiles("/data/*.csv", window=128)`; as a string,
    `series:/data/GunPoint_TRAIN.ts`, `series:/data/power.csv?window=96&horizon=24`.

    A record has `series` float32 [T, C], 0 where `valid` bool [T, C] is False (a value is missing, or the record padded), `label`
    int32 where there are labels (-1: none), `anomaly` int32 [T] where there are marks, with a horizon `future` [H, C] and
    `future_valid`, and the `mean` and `scale` float32 [C] that it was normalised by. Files are held in memory.

    Args:
      files: a path, a folder, or a pattern such as `/data/*.csv`.
      window: steps of a record, None for whole recordings; the first one begins at 0, the next `stride` (default: `window`)
        later. A recording that is shorter is padded, and steps that fill no window any more are left out.
      horizon: steps after the window that are to be forecast; without them no window is made.
      length: steps of a record where `window` is None: shorter recordings are padded, longer ones cut. None: the longest.
      normalise: "none", "window" (each channel of each window by its own mean and deviation), or "channel" (each channel by
        those of all `statistics`).
      statistics: the files whose mean and deviation "channel" takes; "" for these. Of a test give the files of the training.
      label, anomaly, by, channels: columns of a table: what is no channel, which rows are a recording of their own, and what is a
        channel ((): all other columns but those that are called time, timestamp, date or datetime). "": `label`; `anomaly` or
        `is_anomaly`; none.
      flat: whether a window in which nothing changes is a record; else it is a bad one.

    Raises:
      UserError: no such files, rows of different lengths, text where numbers belong, recordings of different channels.
    """

    files: str
    window: int | None = None
    stride: int | None = None
    horizon: int = 0
    length: int | None = None
    normalise: str = "none"
    statistics: str = ""
    label: str = ""
    anomaly: str = ""
    by: str = ""
    channels: tuple[str, ...] = ()
    flat: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.normalise not in KINDS:
            raise UserError(f"normalise={self.normalise!r} is unknown; use one of {', '.join(KINDS)}")
        sizes = {name: getattr(self, name) for name in ("window", "stride", "length", "limit")}
        small = {name: value for name, value in sizes.items() if value is not None and value < 1}
        if small or self.horizon < 0:
            raise UserError(
                f"{small or {'horizon': self.horizon}}: steps and records are at least 1, a horizon at least 0"
            )
        if self.horizon and self.window is None:
            raise UserError(f"horizon={self.horizon} needs window=N, the steps from which it is forecast")
        if not self.places:
            raise UserError(
                f"{self.files!r} holds no recording of more than {self.horizon} steps; use a smaller horizon"
            )

    @functools.cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The files."""
        return find(self.files)

    @functools.cached_property
    def found(self) -> Found:
        """All recordings, which have the same channels, and the names of classes."""
        return _read_all(self.shards, self.roles)

    @property
    def roles(self) -> Roles:
        """What the columns of tables are."""
        return Roles(self.label, self.anomaly, self.by, tuple(self.channels))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of classes in the order of their numbers; () where labels are numbers."""
        return self.found.classes

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """What no encoder may see beside the label."""
        return {"anomaly": ("normal", "anomaly")} if self.marked else {}

    @functools.cached_property
    def marked(self) -> bool:
        """Whether any recording has marks of what is wrong."""
        return any(r.marks is not None for r in self.found.recordings)

    @functools.cached_property
    def steps(self) -> int:
        """Steps of a record."""
        return self.window or self.length or max(len(r.values) for r in self.found.recordings)

    @functools.cached_property
    def places(self) -> list[Place]:
        """Where every record begins."""
        hop = self.stride or self.window or 1
        every = [(i, at) for i, r in enumerate(self.found.recordings) for at in self._starts(r, hop)]
        return every[: self.limit]

    def _starts(self, recording: Recording, hop: int) -> range:
        if recording.reason or self.window is None:
            return range(1)
        size = len(recording.values) - self.horizon
        return range(0, max(size - self.window, 0) + 1, hop) if size > 0 else range(0)

    @functools.cached_property
    def of_all(self) -> Moments | None:
        """The moments that all records share; None where each has its own, or none."""
        if self.normalise != "channel":
            return None
        given = self.found if not self.statistics else _read_all(find(self.statistics), self.roles)
        return moments_of_all(r.values for r in given.recordings if not r.reason)

    @property
    def notes(self) -> tuple[str, ...]:
        """What its records are normalised by."""
        if self.of_all is None:
            own = self.normalise == "window"
            return ("each window has mean 0 and deviation 1" if own else "values are as the files have them",)
        told = ", ".join(f"{m:.4g} ± {s:.4g}" for m, s in list(zip(*self.of_all, strict=True))[:8])
        return (f"channels are normalised by mean ± deviation {told} of {self.statistics or 'these files'}",)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        number, start = self.places[index]
        recording = self.found.recordings[number]
        if recording.reason:
            raise ValueError(recording.reason)
        end = start + self.steps
        values = recording.values[start:end]
        self._require_sound(values)
        by = self._moments(values)
        record = _masked("series", "valid", _padded(by.normal(values), self.steps))
        if self.horizon:
            record |= _masked("future", "future_valid", by.normal(recording.values[end : end + self.horizon]))
        record |= {"mean": by.mean, "scale": by.scale} if self.normalise != "none" else {}
        return record | self._told(recording, start, end)

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N]; None for other fields, and where there are none."""
        recordings = self.found.recordings
        if name != "label" or all(r.label is None for r in recordings):
            return None
        try:
            return np.array([self._label(recordings[i], at + self.steps) for i, at in self.places], np.int32)
        except ValueError:  # which record it is, reading says
            return None

    def name_of(self, index: int) -> str:
        """The recording of a record, and the step at which it begins."""
        number, start = self.places[index]
        return self.found.recordings[number].name + (f" from step {start}" if self.window else "")

    def fingerprint(self) -> str:
        """SHA-256 of the options, and names, sizes and both ends of the files."""
        told = (self.window, self.stride, self.horizon, self.length, self.normalise, self.roles, self.flat, self.limit)
        digest = hashlib.sha256(f"series {told} {self.notes}\n".encode())
        shards.see(digest, self.shards)
        return digest.hexdigest()

    @staticmethod
    def example(
        window: int | None = None,
        length: int | None = None,
        horizon: int = 0,
        channels: tuple[str, ...] = (),
        **_: object,
    ) -> Record:
        """A record of zeros for `ssl-jax plan`: reads nothing. Without `window` or `length` it has 128 steps, without `channels`
        one channel."""
        width = max(len(channels), 1)
        future = _masked("future", "future_valid", np.zeros((horizon, width), np.float32)) if horizon else {}
        series = _masked("series", "valid", np.zeros((window or length or 128, width), np.float32))
        return series | future | {"label": np.zeros((), np.int32)}

    def _moments(self, values: np.ndarray) -> Moments:
        if self.of_all is not None:
            return self.of_all
        channels = values.shape[1]
        same = Moments(np.zeros(channels, np.float32), np.ones(channels, np.float32))
        return moments(values) if self.normalise == "window" else same

    def _require_sound(self, values: np.ndarray) -> None:
        """ValueError for a window [T, C] from which nothing can be learned."""
        if np.isinf(values).any():
            raise ValueError("a value is infinite")
        if np.isnan(values).all():
            raise ValueError("every value is missing")
        if not self.flat and len(values) > 1 and normal.is_flat(values):
            raise ValueError("nothing changes in it; flat=True takes such windows")

    def _told(self, recording: Recording, start: int, end: int) -> Record:
        """The label, and the marks of the window."""
        label = {} if self.unlabelled else {"label": self._label(recording, end)}
        if not self.marked:
            return label
        marks = np.zeros(self.steps, np.int32)
        if recording.marks is not None:
            own = recording.marks[start:end]
            marks[: len(own)] = own
        return label | {"anomaly": marks}

    @functools.cached_property
    def unlabelled(self) -> bool:
        """Whether no recording has a label."""
        return all(r.label is None for r in self.found.recordings)

    def _label(self, recording: Recording, end: int) -> np.ndarray:
        """The label of a recording; of one with a label for each step that of the last step of the window."""
        value = recording.label
        if isinstance(value, np.ndarray):
            value = value[min(end, len(value)) - 1].item()
        return label_of(value, self.classes)


def _masked(name: str, valid: str, values: np.ndarray) -> Record:
    """Values with 0 for NaN, and where there was none."""
    there = np.isfinite(values)
    return {name: np.where(there, values, 0).astype(np.float32), valid: there}


def _padded(values: np.ndarray, steps: int) -> np.ndarray:
    """[T, C] -> [steps, C], NaN at the end."""
    return np.pad(values, ((0, steps - len(values)), (0, 0)), constant_values=np.nan)


def _read_all(found: tuple[Shard, ...], roles: Roles) -> Found:
    parts = [read(shard.path, roles) for shard in found]
    recordings = [recording for part in parts for recording in part.recordings]
    channels: Mapping[int, str] = {r.values.shape[1]: r.name for r in recordings if not r.reason}
    if len(channels) > 1:
        told = " and ".join(f"{name} has {count}" for count, name in list(channels.items())[:2])
        raise UserError(f"all recordings need the same channels; {told}")
    if not channels:
        why = f": {recordings[0].name}: {recordings[0].reason}" if recordings else ""
        raise UserError(f"{found[0].path!r} holds no recording that can be read{why}")
    return Found(recordings, tuple(sorted({name for part in parts for name in part.classes})))
