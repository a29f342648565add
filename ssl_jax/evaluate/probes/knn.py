"""Weighted nearest neighbours: no training, no choice, so it shows what the geometry of the features is worth as it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.errors import UserError
from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.features import Split

_FLOATS = 2**25  # similarities held at once: 128 MB


@dataclass(frozen=True)
class Probe:
    """`k` nearest neighbours by cosine, each voting `exp(similarity / temperature)` (Wu et al. 2018; k and T of DINO)."""

    k: int = 20
    temperature: float = 0.07
    seed: int = 0

    columns: ClassVar = ({"title": "kNN", "value": "accuracy", "unit": "percent"},)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return f"kNN: cosine, k={self.k}, weights exp(s/{self.temperature:g})"

    def run(self, split: Split) -> dict[str, Any]:
        """Test `accuracy` with `interval`, `chance` and counts."""
        predicted = classify(
            split.train.x, split.train.labels, split.test.x, split.classes, k=self.k, temperature=self.temperature
        )
        return accuracy(predicted, split.test.labels, self.seed) | {"n_train": len(split.train.x), "k": self.k}


def classify(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, classes: int, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Class [Q] with most votes among the `k` neighbours in `bank` [N, F] of each of `queries` [Q, F]."""
    similarity, index = neighbours(bank, queries, k)
    weights = np.exp((similarity - similarity[:, :1]) / temperature)  # relative to the nearest: no overflow
    rows = max(1, _FLOATS // classes)
    parts = [slice(start, start + rows) for start in range(0, len(queries), rows)]
    return np.concatenate([_most_votes(labels[index[part]], weights[part], classes) for part in parts])


def _most_votes(labels: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    votes = np.zeros((len(labels), classes))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels), weights)
    return votes.argmax(1)


def neighbours(bank: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine similarities and indices [Q, k] into `bank` [N, F] of the nearest to each of `queries` [Q, F], nearest first.

    Raises:
      UserError: `k` exceeds the size of the bank.
    """
    if k > len(bank):
        raise UserError(f"k={k} neighbours of {len(bank)} labelled examples; use a smaller k or a larger probe split")
    searched = jnp.asarray(_unit(bank))
    rows = max(1, min(len(queries), _FLOATS // len(bank)))
    chunks = []
    for start in range(0, len(queries), rows):
        chunk = queries[start : start + rows]
        padded = np.pad(chunk, ((0, rows - len(chunk)), (0, 0)))  # one shape, one compilation
        chunks.append([np.asarray(a)[: len(chunk)] for a in _nearest(searched, jnp.asarray(_unit(padded)), k)])
    similarity, index = zip(*chunks, strict=True)
    return np.concatenate(similarity), np.concatenate(index)


@partial(jax.jit, static_argnames="k")
def _nearest(bank: Array, queries: Array, k: int) -> tuple[Array, Array]:
    return jax.lax.top_k(jnp.matmul(queries, bank.T, precision=jax.lax.Precision.HIGHEST), k)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
