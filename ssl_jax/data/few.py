"""Which labelled records a few-label split has: pure functions of the labels and a seed."""

from __future__ import annotations

import numpy as np

from ssl_jax.errors import UserError


def draw(labels: np.ndarray, shots: int, seed: int, number: int) -> np.ndarray:
    """Indices [classes * shots] of `shots` records of every class, for the `number`-th draw of this seed.

    Raises:
      UserError: a class has fewer labels than `shots`.
    """
    rng = np.random.default_rng([seed, shots, number])
    chosen = []
    for members in by_class(labels):
        if len(members) < shots:
            raise UserError(
                f"class {labels[members[0]]} has {len(members)} labels in the probe split, fewer than shots={shots}; "
                f"use at most {min(len(m) for m in by_class(labels))}, or a larger probe split"
            )
        chosen.append(rng.permutation(members)[:shots])
    return np.sort(np.concatenate(chosen))


def share(labels: np.ndarray, percent: float, seed: int, number: int) -> np.ndarray:
    """Indices of `percent` of every class, rounded and one at least, for the `number`-th draw; more percent hold what fewer do.

    Raises:
      UserError: no percentage above 0, up to 100.
    """
    if not 0 < percent <= 100:
        raise UserError(f"percent={percent}: use more than 0, and at most 100")
    rng = np.random.default_rng([seed, number])
    chosen = [rng.permutation(members)[: max(1, round(len(members) * percent / 100))] for members in by_class(labels)]
    return np.sort(np.concatenate(chosen))


def by_class(labels: np.ndarray) -> list[np.ndarray]:
    """The places of each class in `labels` [N]."""
    return [np.flatnonzero(labels == c) for c in np.unique(labels)]
