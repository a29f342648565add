"""Retrieval: are the records that lie nearest of the same class?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.ranking import Side, measured, rankings


@dataclass(frozen=True)
class Probe:
    """Every test record asks for the others of its class, by cosine, among all `candidates`: "test" or "train" records.

    No query is its own candidate. Nothing is learnt.
    """

    ks: Sequence[int] = (1, 5, 10)
    candidates: str = "test"

    def __post_init__(self) -> None:
        if self.candidates not in ("test", "train"):
            raise UserError(f"retrieval: candidates={self.candidates!r}; use 'test' or 'train'")

    @property
    def columns(self) -> tuple[dict[str, str], ...]:
        """Recall at the first k, and mean average precision."""
        k = self.ks[0]
        first = {"title": f"recall@{k}", "value": f"recall_{k}", "unit": "percent"}
        return first, {"title": "mAP", "value": "map", "unit": "percent"}

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        others = "all other test records" if self.candidates == "test" else "all train records"
        return f"retrieval: cosine, test records as queries, {others} as candidates, relevant if of the same class"

    def run(self, split: Split) -> dict[str, Any]:
        """`recall_<k>` (any relevant in the first k), `ndcg_<k>`, `map`, `mrr`, with the number of `queries` (those with a
        relevant candidate) and of `candidates` for each."""
        queries = _side(split.test)
        bank = queries if self.candidates == "test" else _side(split.train, other=True)
        count = len(bank.x) - (self.candidates == "test")
        return measured(rankings(queries, bank), self.ks) | {"candidates": count}


def _side(features: Features, other: bool = False) -> Side:
    """Labelled features to search with, or in; of another source, where ids are no one's own."""
    return Side(features.x, features.labels, -1 - features.ids if other else features.ids.astype(np.int64))
