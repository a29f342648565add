"""Probes of few labels where there are fewer: what they can be asked for is settled before any feature is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ssl_jax.data.bad import BadRecords
from ssl_jax.errors import UserError
from ssl_jax.evaluate.classes import labels_of
from ssl_jax.evaluate.instruments import Probe

Notes = tuple[str, ...]


def feasible(probes: Mapping[str, Probe], train: Any, label: str, max_bad: float) -> tuple[dict[str, Probe], Notes]:
    """The probes with those of their `shots` that the labels of `train` suffice for, and a note on each that lost some.

    Raises:
      UserError: no probe but health is left.
    """
    wanting = [name for name, probe in probes.items() if getattr(probe, "shots", ())]
    labels = labels_of(train, label, BadRecords(max_bad)) if wanting else None
    if labels is None or not np.any(labels >= 0):
        return dict(probes), ()
    fewest = fewest_labels(labels)
    kept = {name: tuple(n for n in probes[name].shots if n <= fewest[1]) for name in wanting}  # type: ignore[attr-defined]
    left = {name: _of(probe, kept.get(name)) for name, probe in probes.items()}
    found = {name: probe for name, probe in left.items() if probe is not None}
    notes = tuple(
        f"{name}: class {fewest[0]} has {fewest[1]} labels in the probe split, fewer than shots="
        f"{','.join(str(n) for n in probes[name].shots if n not in kept[name])}, which are left out; use at most "  # type: ignore[attr-defined]
        f"{fewest[1]} (--config.evaluate.shots={fewest[1]},), or a larger probe split"
        for name in wanting
        if len(kept[name]) < len(probes[name].shots)  # type: ignore[attr-defined]
    )
    if not set(found) - {"health"}:
        raise UserError("; ".join(notes))
    return found, notes


def fewest_labels(labels: np.ndarray) -> tuple[int, int]:
    """The class with the fewest labels, and how many it has; -1 is no label."""
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    return int(classes[counts.argmin()]), int(counts.min())


def _of(probe: Probe, shots: tuple[int, ...] | None) -> Probe | None:
    """`probe` with these `shots`; as it is where it has none, None where none are left."""
    if shots is None or shots == tuple(probe.shots):  # type: ignore[attr-defined]
        return probe
    return replace(probe, shots=shots) if shots else None  # type: ignore[type-var]
