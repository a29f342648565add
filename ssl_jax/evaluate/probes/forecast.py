"""Forecasting: how far do frozen features of a window tell, linearly, what comes after it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ssl_jax.data.series.normal import Moments, moments
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split, standardise
from ssl_jax.evaluate.readings import OWN, Reading
from ssl_jax.evaluate.ridge import STRENGTHS, ridge

TOKENS = Reading("tokens")
READERS = ("own", "last", "all")
FIELDS = ("series", "valid", "future", "future_valid")


@dataclass(frozen=True)
class Probe:
    """Ridge regression of the steps after a window on features of the window; errors over the first `horizons` of them.

    Records have `series` and `valid` [T, C], `future` and `future_valid` [H, C]. What is predicted is the future in units of
    the window: its channels less their mean, divided by their deviation; errors are of the values in the units of the records.
    `read` says what of an encoder: "own" features, the "last" token (TS2Vec's protocol), or "all" tokens side by side
    (PatchTST's). Beside it stand a linear model on the window in its own units, and the seasonal naive forecast: the last season
    again and again, its length the lag at which the window is most like itself, or `season` steps.
    """

    horizons: Sequence[int] = (8, 32)
    read: str = "own"
    season: int | None = None
    strengths: Sequence[float] = STRENGTHS

    labelled: ClassVar = False
    fields: ClassVar = FIELDS
    needs: ClassVar = (OWN, TOKENS)
    chosen: ClassVar = ("strength",)

    def __post_init__(self) -> None:
        if self.read not in READERS or not self.horizons or min(self.horizons) < 1:
            raise UserError(
                f"forecast: read={self.read!r}, horizons={tuple(self.horizons)}; read {', '.join(READERS)}, and name "
                "numbers of steps"
            )

    @property
    def columns(self) -> tuple[Mapping[str, str], ...]:
        """The errors over the longest horizon, and the squared one as a part of those of the two other forecasts."""
        far = max(self.horizons)
        titles = {"mse": f"MSE of {far} steps", "mae": f"MAE of {far} steps"}
        titles |= {"of_naive": "of seasonal naive", "of_linear": "of linear on windows"}
        return tuple({"title": t, "value": v, "unit": "number", "better": "lower"} for v, t in titles.items())

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return (
            f"forecast: ridge regression of the next {max(self.horizons)} steps on the features ({self.read}), penalty by "
            "leave-one-out error on train; beside it the same on windows in their own units"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """`mse`, `mae` over the longest horizon and the first as a part of the others' (`of_naive`, `of_linear`); `each` horizon
        with those of the `naive` and the `linear` forecast; `strength`."""
        train, test = (self._read(split, part) for part in ("train", "test"))
        steps = max(self.horizons)
        for part in (train, test):
            if part.fields["future"].shape[1] < steps:
                raise UserError(
                    f"forecast: horizon {steps}, and records have {part.fields['future'].shape[1]} steps to come"
                )
        known, asked = in_units(train, steps), in_units(test, steps)
        found, strength = self._forecast(train.x, test.x, known, asked)
        linear, _ = self._forecast(known.windows, asked.windows, known, asked)
        naive = np.stack([self._naive(s, v, steps) for s, v in zip(*(test.fields[n] for n in FIELDS[:2]), strict=True)])
        others = {"naive": naive, "linear": linear}
        each: dict[str, Any] = {
            str(h): errors(found, test, h) | {n: errors(x, test, h) for n, x in others.items()} for h in self.horizons
        }
        far = each[str(steps)]
        parts = {f"of_{name}": far["mse"] / max(far[name]["mse"], 1e-12) for name in others}
        told = {"mse": far["mse"], "mae": far["mae"], **parts, "each": each}
        return told | {"strength": strength, "n_train": len(train.x)}

    def _forecast(self, x: np.ndarray, held: np.ndarray, known: Units, asked: Units) -> tuple[np.ndarray, float]:
        """Forecasts [M, H, C] in the units of the records, from rows `held` after a fit on rows `x`; and the strength chosen."""
        x, held = standardise(x, held)
        predicted, strength = ridge(x, known.flat, held, self.strengths)
        return asked.back(predicted.reshape(len(held), *known.futures.shape[1:])), strength

    def _read(self, split: Split, part: str) -> Features:
        """The features that are read, a row for each record. Where an encoder has no tokens, its own."""
        own: Features = getattr(split, part)
        if self.read == "own" or TOKENS not in split.readings:
            return own._replace(x=own.x.reshape(len(own.x), -1))
        tokens: np.ndarray = getattr(split.readings[TOKENS], part).x
        return own._replace(x=tokens[:, -1] if self.read == "last" else tokens.reshape(len(tokens), -1))

    def _naive(self, series: np.ndarray, valid: np.ndarray, steps: int) -> np.ndarray:
        season = self.season or season_of(series, valid)
        there = np.where(valid, series, moments(np.where(valid, series, np.nan)).mean)
        return there[-season:][np.arange(steps) % season]


def season_of(series: np.ndarray, valid: np.ndarray) -> int:
    """The lag in [2, T / 2] at which a window [T, C] is most like itself, by the mean product of what is apart from the mean.

    >>> season_of(np.tile([0.0, 1.0, 2.0], 8)[:, None], np.ones((24, 1), bool))
    3
    """
    apart = np.where(valid, moments(np.where(valid, series, np.nan)).normal(series), 0)
    lags = range(2, len(series) // 2 + 1)
    alike = [float((apart[lag:] * apart[:-lag]).sum() / max((valid[lag:] & valid[:-lag]).sum(), 1)) for lag in lags]
    return lags[int(np.argmax(np.round(alike, 6)))]


def errors(predicted: np.ndarray, test: Features, steps: int) -> dict[str, float]:
    """`mse` and `mae` of forecasts [N, H, C] over the first `steps`, of the values that are there."""
    there = test.fields["future_valid"][:, :steps].astype(bool)
    wrong = (predicted[:, :steps] - test.fields["future"][:, :steps])[there].astype(np.float64)
    return {"mse": float(np.square(wrong).mean()), "mae": float(np.abs(wrong).mean())}


class Units(NamedTuple):
    """Records in units of their windows, 0 where a value is missing: `windows` [N, T * C] and `futures` [N, H, C]; and the
    moments of each channel of each window."""

    windows: np.ndarray
    futures: np.ndarray
    scales: list[Moments]

    @property
    def flat(self) -> np.ndarray:
        """The futures as rows [N, H * C]."""
        return self.futures.reshape(len(self.futures), -1)

    def back(self, values: np.ndarray) -> np.ndarray:
        """Futures [N, H, C] in the units of the records."""
        return np.stack([m.mean + m.scale * x for m, x in zip(self.scales, values, strict=True)])


def in_units(part: Features, steps: int) -> Units:
    """The windows, and the first `steps` after each, in units of the windows."""
    series, valid, future, there = (part.fields[name] for name in FIELDS)
    windows = [np.where(v.astype(bool), s, np.nan) for s, v in zip(series, valid, strict=True)]
    futures = [np.where(v.astype(bool), f, np.nan)[:steps] for f, v in zip(future, there, strict=True)]
    scales = [moments(window) for window in windows]
    normal = lambda values: np.nan_to_num(np.stack([m.normal(x) for m, x in zip(scales, values, strict=True)]))  # noqa: E731
    return Units(normal(windows).reshape(len(windows), -1), normal(futures).astype(np.float64), scales)
