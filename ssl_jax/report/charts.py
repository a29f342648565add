"""Curves of a run from its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.report.chart import Line, chart
from ssl_jax.report.html import Html
from ssl_jax.report.plots import number
from ssl_jax.report.record import Record

Series = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Picture:
    """A PNG with the words that go with it. `name` is its file in `samples/`, `alt` what is to be seen in words.

    `wide`: its letters are too small to read where it is shrunk to the width of a phone. `sounds`: wav files of its rows.
    """

    name: str
    png: bytes
    alt: str
    caption: str = ""
    wide: bool = False
    sounds: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Lines that are drawn in the page itself; `name` is their file in `samples/`. It says in words what it shows."""

    name: str
    svg: Html
    caption: str

    @property
    def file(self) -> bytes:
        """As a file of its own."""
        return self.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" color="#1d2129" ', 1).encode()


# Of a line of metrics: what is no term of the loss, and no measure that the objective adds to it.
NO_TERMS = ("step", "loss", "lr", "grad_norm", "skipped", "skipped_in_a_row", "data_wait")
TOGETHER = 4  # terms in one drawing: those of about the same size


def curves(record: Record) -> list[Curve]:
    """Loss, learning rate, gradient norm, terms, speed, online probe, spread of features, ranks: those that were logged."""
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
        _curve(
            "grad_norm",
            "Gradient norm",
            {"norm": series(training, "grad_norm")},
            "Of the whole gradient before it is clipped; pale: every logged step.",
            0.8,
        ),
        *_terms(training),
        _curve(
            "throughput",
            "Throughput (examples/s)",
            {"examples/s": series(training, "examples_per_s")},
            "Between two lines of metrics, without checks and saving.",
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
    return [curve for curve in drawn if curve]


def _terms(training: Sequence[Mapping[str, Any]]) -> list[Curve | None]:
    """What the objective reports beside its loss, a few in one drawing: the smallest together, then the larger ones."""
    names = dict.fromkeys(name for line in training for name in line if _is_term(name, line))
    found = {name: series(training, name) for name in names}
    sized = sorted(found, key=lambda name: float(np.median(np.abs(found[name][1][np.isfinite(found[name][1])]))))
    parts = [sized[start : start + TOGETHER] for start in range(0, len(sized), TOGETHER)]
    about = "What the objective reports beside its loss: terms of it, and measures; pale: every logged step."
    titles = [f"Terms ({i} of {len(parts)})" if len(parts) > 1 else "Terms" for i in range(1, len(parts) + 1)]
    return [
        _curve(f"terms_{i}" if i else "terms", title, {name: found[name] for name in part}, about, 0.8)
        for i, (title, part) in enumerate(zip(titles, parts, strict=True))
    ]


def _is_term(name: str, line: Mapping[str, Any]) -> bool:
    value, measured = line[name], name not in NO_TERMS and not name.startswith("data_") and not name.endswith("_per_s")
    return measured and isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


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
) -> Curve | None:
    shown = {k: s for k, s in lines.items() if np.isfinite(s[1]).any()}
    alt = f"{title} over training steps. {' '.join(_told(k, *s) for k, s in shown.items())}"
    svg = chart([Line(k, *s) for k, s in shown.items()], alt, title, "step", smooth, baselines)
    return None if svg is None else Curve(name, svg, caption)


def _told(name: str, steps: np.ndarray, values: np.ndarray) -> str:
    """A line in words."""
    known = np.isfinite(values)
    steps, values = steps[known], values[known]
    low, high = values.argmin(), values.argmax()
    return (
        f"{name}: {number(values[0])} at step {steps[0]:,}, {number(values[-1])} at step {steps[-1]:,}, "
        f"lowest {number(values[low])} at step {steps[low]:,}, highest {number(values[high])} at step {steps[high]:,}."
    )
