"""Curves of a run from its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.report.plots import curve, number
from ssl_jax.report.record import Record

Series = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Picture:
    """A PNG with the words that go with it. `name` is its file in `samples/`, `alt` what is to be seen in words.

    `wide`: its letters are too small to read where it is shrunk to the width of a phone.
    """

    name: str
    png: bytes
    alt: str
    caption: str = ""
    wide: bool = False


def curves(record: Record) -> list[Picture]:
    """Loss, learning rate, online probe, feature standard deviation, ranks: those that were logged."""
    training, checks = record.training, record.checks
    losses = {"loss": series(training, "loss")}
    drawn = [
        _curve("loss", "Loss", losses, "The objective's own loss on training batches; pale: every logged step.", 0.8),
        _curve(
            "learning_rate",
            "Learning rate",
            {"lr": series(training, "lr")},
            "Warm-up, then the schedule of the recipe.",
        ),
    ]
    accuracy = {name: (steps, 100 * y) for name, (steps, y) in {"probe": series(checks, "probe_accuracy")}.items()}
    first = zip(*(x[:1] for x in accuracy["probe"]), strict=True)
    start = [float(y) for step, y in first if step == 0 and np.isfinite(y)]
    embeddings = {"embeddings": series(checks, "embedding_rank")} if any("embedding_rank" in c for c in checks) else {}
    drawn += [
        _curve(
            "online_probe",
            "Online probe accuracy (%)",
            accuracy,
            "A quick ridge probe on part of the probe split, to watch progress. The table has the real evaluation.",
            baselines={"before training": start[0]} if start else {},
        ),
        _curve(
            "feature_std",
            "Spread of features",
            {"std": series(checks, "feature_std")},
            "Standard deviation of feature directions: 1 where they fill the sphere evenly, near 0 where all inputs look alike.",
        ),
        _curve(
            "rank",
            "Effective rank of features",
            {"RankMe": series(checks, "rankme"), "centred": series(checks, "centred_rank")} | embeddings,
            "About how many directions the features use (RankMe); centred: after taking off their mean; embeddings: of what "
            "the loss compares.",
        ),
    ]
    return [picture for picture in drawn if picture]


def series(lines: Sequence[Mapping[str, Any]], key: str) -> Series:
    """(steps [n], values [n]) of the lines that have `key`; what is not a number is NaN."""
    found = [(line["step"], line[key]) for line in lines if key in line]
    values = [v if isinstance(v, int | float) else np.nan for _, v in found]
    return np.array([s for s, _ in found], np.int64), np.array(values, np.float64)


def _curve(
    name: str,
    title: str,
    lines: Mapping[str, Series],
    caption: str,
    smooth: float = 0.0,
    baselines: Mapping[str, float] | None = None,
) -> Picture | None:
    shown = {k: s for k, s in lines.items() if np.isfinite(s[1]).any()}
    if not shown:
        return None
    png = curve(shown, title=title, smooth=smooth, baselines=baselines)
    return Picture(
        name, png, f"{title} over training steps. {' '.join(_told(k, *s) for k, s in shown.items())}", caption
    )


def _told(name: str, steps: np.ndarray, values: np.ndarray) -> str:
    """A line in words."""
    known = np.isfinite(values)
    steps, values = steps[known], values[known]
    low, high = values.argmin(), values.argmax()
    return (
        f"{name}: {number(values[0])} at step {steps[0]:,}, {number(values[-1])} at step {steps[-1]:,}, "
        f"lowest {number(values[low])} at step {steps[low]:,}, highest {number(values[high])} at step {steps[high]:,}."
    )
