"""How one set lies among another in the space of an encoder's features: precision, recall, density and coverage.

M. F. Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020 (arXiv 2002.09797), equations
1 to 4, with the reference set as the real samples and the set that is looked at as the others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEAREST = 5  # neighbours that span the ball around a sample, as in the paper
BLOCK = 1024


class Coverage(NamedTuple):
    """`precision`: of the set, how much lies among the reference. `recall`: of the reference, how much lies among the set.
    `density`: in how many balls of the reference a record of the set lies, divided by k; above 1 where it is dense. `coverage`:
    of the reference, how many records have one of the set nearer than their own k-th neighbour; `covered` bool [M] which.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    covered: np.ndarray


def coverage(x: np.ndarray, reference: np.ndarray, k: int = NEAREST) -> Coverage:
    """Of features `x` [N, F] and `reference` [M, F], both with more than `k` rows, by Euclidean distance."""
    of_x, of_reference = radii(x, k), radii(reference, k)
    inside, any_reference, covered, any_x = 0, [], np.zeros(len(reference), bool), np.zeros(len(reference), bool)
    for start in range(0, len(x), BLOCK):
        apart = squared(x[start : start + BLOCK], reference)
        in_ball = apart <= of_reference
        inside += int(in_ball.sum())
        any_reference.append(in_ball.any(axis=1))
        covered |= in_ball.any(axis=0)
        any_x |= (apart <= of_x[start : start + BLOCK, None]).any(axis=0)
    precision = float(np.concatenate(any_reference).mean())
    return Coverage(precision, float(any_x.mean()), inside / (k * len(x)), float(covered.mean()), covered)


def radii(x: np.ndarray, k: int) -> np.ndarray:
    """The squared distance [N] of each row of `x` [N, F] to its `k`-th nearest other."""
    found = []
    for start in range(0, len(x), BLOCK):
        apart = squared(x[start : start + BLOCK], x)
        apart[
            np.arange(len(apart)), start + np.arange(len(apart))
        ] = -1  # itself is the nearest, whatever rounding says
        found.append(np.partition(apart, k, axis=1)[:, k])
    return np.concatenate(found)


def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [A, B] of rows."""
    apart = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * (a @ b.T)
    return np.maximum(apart, 0)
