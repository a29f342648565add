"""One head of many: each learns on a part of train; the best on the rest of it learns again on all. Test plays no part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.evaluate.batches import Norm, Prepared, Rows, Some
from ssl_jax.evaluate.heads import Head, Task
from ssl_jax.evaluate.lanes import Lanes, Training, fit, lanes_at_once, outputs, scores


@dataclass(frozen=True, eq=False)
class Candidate:
    """Features to learn from and to be tested on, how they are normalised, and the head for them; `name` is for people."""

    name: str
    train: Rows
    test: Rows
    norm: Norm
    head: Head


class Choice(NamedTuple):
    """Outputs [M, K] for the test rows, the chosen candidate's `name`, `rate`, `decay`, the `held_out` curve and a `note`."""

    outputs: np.ndarray
    name: str
    rate: float
    decay: float
    held_out: list[dict[str, Any]]
    note: str

    def told(self, candidate: str) -> dict[str, Any]:
        """The choice for a result, with the name of what `candidate` is."""
        return {candidate: self.name, **{k: getattr(self, k) for k in ("rate", "decay", "held_out", "note")}}


def selected(
    candidates: Sequence[Candidate], task: Task, targets: np.ndarray, held: np.ndarray, lanes: Lanes, training: Training
) -> Choice:
    """The best score on the rows `held` bool [N] wins, the least loss among equals; where nothing is held, the middle lane."""
    curve = [point for each in candidates for point in _curve(each, task, targets, held, lanes, training)]
    best = (
        min(range(len(curve)), key=lambda i: (-curve[i]["score"], curve[i]["loss"])) if held.any() else len(curve) // 2
    )
    winner, lane = candidates[best // len(lanes.rate)], best % len(lanes.rate)
    only = Lanes(lanes.rate[lane : lane + 1], lanes.decay[lane : lane + 1])
    params = fit(winner.head, task, Prepared(winner.train, winner.norm.learning), targets, only, training)
    found = outputs(winner.head, params, Prepared(winner.test, winner.norm.used))
    point = curve[best]
    return Choice(
        found, winner.name, point["rate"], point["decay"], curve if held.any() else [], _note(point, lanes, held)
    )


def _curve(
    candidate: Candidate, task: Task, targets: np.ndarray, held: np.ndarray, lanes: Lanes, training: Training
) -> list[dict[str, Any]]:
    """Held-out `score` and `loss` of every lane."""
    score, loss = np.full((2, len(lanes.rate)), -np.inf)
    if held.any():
        size = lanes_at_once(candidate.head, candidate.train, training.batch_size)
        parts = [Lanes(*(a[i : i + size] for a in lanes)) for i in range(0, len(lanes.rate), size)]
        found = [_held_out(candidate, task, targets, held, part, training) for part in parts]
        score, loss = (np.concatenate([part[i] for part in found]) for i in range(2))
    return [
        {"name": candidate.name, "rate": float(r), "decay": float(d), "score": float(s), "loss": float(v)}
        for r, d, s, v in zip(*lanes, _finite(score, -1e30), _finite(loss, 1e30), strict=True)
    ]


def _held_out(
    candidate: Candidate, task: Task, targets: np.ndarray, held: np.ndarray, lanes: Lanes, training: Training
) -> tuple[np.ndarray, np.ndarray]:
    to_fit, to_choose = np.flatnonzero(~held), np.flatnonzero(held)
    x = Prepared(Some(candidate.train, to_fit), candidate.norm.learning)
    params = fit(candidate.head, task, x, targets[to_fit], lanes, training)
    seen = Prepared(Some(candidate.train, to_choose), candidate.norm.used)
    return scores(candidate.head, task, params, seen, targets[to_choose])


def _finite(values: np.ndarray, otherwise: float) -> np.ndarray:
    """A lane that diverged is the worst, in numbers that JSON has."""
    return np.where(np.isfinite(values), values, otherwise)


def _note(point: dict[str, Any], lanes: Lanes, held: np.ndarray) -> str:
    if not held.any():
        return f"one label per class leaves none to choose on: learning rate {point['rate']:g}"
    ends = {"smallest": lanes.rate.min(), "largest": lanes.rate.max()}
    for end, rate in ends.items():
        if len(np.unique(lanes.rate)) > 1 and point["rate"] == float(rate):
            return f"learning rate {rate:g} is the {end} of the grid: the best one may lie outside it"
    return ""
