"""Sentence similarity: does the cosine of two texts order pairs as people's scores do?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.evaluate.features import Split


@dataclass(frozen=True)
class Probe:
    """Spearman's rank correlation between cosines of two `encoders` of the test records and the field `score` (STS).

    Nothing is learnt. Records are pairs; the encoders are those of the one text and of the other, of one module or two.
    """

    encoders: Sequence[str] = ("query", "passage")
    score: str = "score"

    labelled: ClassVar = False
    columns: ClassVar = ({"title": "similarity", "value": "spearman", "unit": "percent"},)

    @property
    def fields(self) -> tuple[str, ...]:
        """The field of the scores."""
        return (self.score,)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return (
            f"similarity: Spearman between cosines of {' and '.join(self.encoders)} and {self.score}, all test records"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """`spearman` and how many `pairs`; 0 where all cosines or all scores are equal."""
        a, b = (split.towers[name].test for name in self.encoders)
        cosines, scores = np.sum(_unit(a.x) * _unit(b.x), axis=1), np.asarray(a.fields[self.score], np.float64)
        return {"spearman": spearman(cosines, scores), "pairs": len(cosines)}


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of the ranks of `a` and `b` [N], ties sharing their mean rank; 0 where one of them is constant.

    >>> round(spearman(np.array([1.0, 2.0, 3.0, 3.0]), np.array([1.0, 4.0, 9.0, 16.0])), 4)
    0.9487
    """
    from scipy.stats import rankdata

    x, y = (rank - rank.mean() for rank in (rankdata(a), rankdata(b)))
    norm = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / norm) if norm > 0 else 0.0


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
