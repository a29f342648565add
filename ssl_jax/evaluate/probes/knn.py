"""Weighted nearest neighbours: no training, so it shows what the geometry of the features is worth as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.neighbours import neighbours

_FLOATS = 2**25  # votes held at once: 256 MB
_MOST = 10_000  # rows of train that choose `k` and `temperature`


@dataclass(frozen=True)
class Probe:
    """`k` nearest neighbours by cosine, each voting `exp(similarity / temperature)` (Wu et al. 2018; k and T of DINO).

    Of several `k` or temperatures, the pair with the best leave-one-out accuracy on train is tested: each row (10,000 drawn by
    `seed` of more) is classified by all others. Of equals, the first.
    """

    k: int | Sequence[int] = 20
    temperature: float | Sequence[float] = 0.07
    seed: int = 0

    chosen: ClassVar = ("k", "temperature", "leave_one_out")
    columns: ClassVar = ({"title": "kNN", "value": "accuracy", "unit": "percent"},)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        ks, temperatures = (" or ".join(f"{v:g}" for v in values) for values in self.grid)
        how = "" if self.settled else ", by leave-one-out accuracy on train"
        return f"kNN: cosine, k={ks}, weights exp(s/{temperatures}){how}"

    def checked(self, train: Any, test: Any) -> str | None:
        """Why not, before any feature is computed."""
        most, there = max(self.grid[0]), len(train) - (not self.settled)
        if most <= there:
            return None
        return f"k={most} neighbours of {there} labelled examples; use a smaller k or a larger probe split"

    def run(self, split: Split) -> dict[str, Any]:
        """Test `accuracy` with `interval`, `chance`, counts; `k`, `temperature` and, of several, the `leave_one_out` curve."""
        curve = [] if self.settled else self.leave_one_out(split.train, split.classes)
        best = max(curve, key=lambda point: point["accuracy"]) if curve else self._pairs[0]
        predicted = classify(
            split.train.x, split.train.labels, split.test.x, split.classes, best["k"], best["temperature"]
        )
        result = accuracy(predicted, split.test.labels, self.seed) | {"n_train": len(split.train.x), "k": best["k"]}
        records = {"correct": predicted == split.test.labels, "predicted": predicted}
        return result | {"temperature": best["temperature"], "leave_one_out": curve, "records": records}

    def leave_one_out(self, train: Features, classes: int) -> list[dict[str, Any]]:
        """The accuracy of each pair on rows of train, each classified by all others."""
        rows = np.random.default_rng(self.seed).permutation(len(train.x))[:_MOST]
        similarity, index = neighbours(train.x, train.x[rows], max(self.grid[0]), rows)
        labels = train.labels[index]

        def right(k: int, temperature: float) -> float:
            found = most_votes(labels[:, :k], similarity[:, :k], classes, temperature)
            return float(np.mean(found == train.labels[rows]))

        return [pair | {"accuracy": right(**pair)} for pair in self._pairs]

    @property
    def grid(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """All `k`, and all temperatures."""
        return tuple(np.ravel(self.k).tolist()), tuple(np.ravel(self.temperature).tolist())

    @property
    def settled(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self._pairs) == 1

    @property
    def _pairs(self) -> list[dict[str, Any]]:
        ks, temperatures = self.grid
        return [{"k": k, "temperature": temperature} for k in ks for temperature in temperatures]


def classify(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, classes: int, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Class [Q] with most votes among the `k` neighbours in `bank` [N, F] of each of `queries` [Q, F]."""
    similarity, index = neighbours(bank, queries, k)
    return most_votes(labels[index], similarity, classes, temperature)


def most_votes(labels: np.ndarray, similarity: np.ndarray, classes: int, temperature: float) -> np.ndarray:
    """Class [Q] with most votes `exp(similarity / temperature)` of neighbours [Q, k], nearest first."""
    weights = np.exp((similarity - similarity[:, :1]) / temperature)  # relative to the nearest: no overflow
    rows = max(1, _FLOATS // classes)
    parts = [slice(start, start + rows) for start in range(0, len(labels), rows)]
    return np.concatenate([_most(labels[part], weights[part], classes) for part in parts])


def _most(labels: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    votes = np.zeros((len(labels), classes))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels), weights)
    return votes.argmax(1)
