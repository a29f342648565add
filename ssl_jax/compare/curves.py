"""Curves of all runs over each other, by examples seen and by compute; those of one group look alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.compare.compute import Compute
from ssl_jax.compare.runs import Group, Run
from ssl_jax.report.chart import Line, chart
from ssl_jax.report.charts import series
from ssl_jax.report.html import Html
from ssl_jax.report.plots import number

Told = Callable[[Run], Any]


class Curve(NamedTuple):
    """What is drawn: a key of the lines of metrics, and which runs may share a drawing: those of which `alike` says the same."""

    key: str
    title: str
    check: bool
    alike: Told
    smooth: float = 0.0
    times: float = 1.0
    by_compute: bool = False


def _any(run: Run) -> str:
    return ""


def _objective(run: Run) -> str:
    """The loss of another objective, or with other options, is another number."""
    options = {key: value for key, value in run.recipe.items() if key.startswith("objective.")}
    return json.dumps(options, sort_keys=True, default=str)


def _probed(run: Run) -> str:
    """What the online check reads."""
    keys = ("data.probe", "evaluate.health_examples", "evaluate.label")
    return json.dumps([(k, v) for k, v in run.recipe.items() if k.startswith(keys)], sort_keys=True, default=str)


CURVES = (
    Curve("probe_accuracy", "Online probe (%)", True, _probed, times=100.0, by_compute=True),
    Curve("loss", "Loss", False, _objective, smooth=0.8, by_compute=True),
    Curve("centred_rank", "Centred rank", True, _probed),
    Curve("feature_std", "Spread of features", True, _probed),
    Curve("grad_norm", "Gradient norm", False, _any, smooth=0.8),
    Curve("examples_per_s", "Examples/s", False, _any),
)


class Drawn(NamedTuple):
    """A drawing and the words under it."""

    svg: Html
    caption: str


def drawn(groups: Sequence[Group], cost: Compute) -> list[Drawn]:
    """All that were logged. What may not be compared is in drawings of its own."""
    found: list[Drawn | None] = []
    names = [group.name for group in groups]
    for curve in CURVES:
        for part in _parts(groups, curve.alike):
            found.append(_one(curve, part, names, "examples seen", lambda group, run, steps: steps * run.batch))
            found += [_one(curve, part, names, cost.unit, cost.spent)] if curve.by_compute else []
    return [one for one in found if one]


def _parts(groups: Sequence[Group], alike: Told) -> list[list[Group]]:
    parts: dict[Any, list[Group]] = {}
    for group in groups:
        parts.setdefault(alike(group.first), []).append(group)
    return list(parts.values())


def _one(
    curve: Curve,
    groups: Sequence[Group],
    names: Sequence[str],
    unit: str,
    place: Callable[[Group, Run, np.ndarray], np.ndarray],
) -> Drawn | None:
    lines = [line for group in groups for line in _lines(curve, group, place)]
    alone = f" ({', '.join(group.name for group in groups)})"
    alt = f"{curve.title} by {unit}. {_told(lines)}"
    svg = chart(lines, alt, curve.title, unit, curve.smooth, named=names)
    return None if svg is None else Drawn(svg, f"{curve.title} by {unit}{alone}.")


def _lines(curve: Curve, group: Group, place: Callable[[Group, Run, np.ndarray], np.ndarray]) -> Iterable[Line]:
    for run in group.runs:
        steps, values = series(_read(curve, run), curve.key)
        if len(steps):
            yield Line(group.name, place(group, run, steps), curve.times * values)


def _read(curve: Curve, run: Run) -> list[Mapping[str, Any]]:
    return run.record.checks if curve.check else run.record.training


def _told(lines: Iterable[Line]) -> str:
    ends = ((line.name, line.y[np.isfinite(line.y)]) for line in lines)
    return " ".join(f"{name}: {number(y[0])} at first, {number(y[-1])} at last." for name, y in ends if len(y))
