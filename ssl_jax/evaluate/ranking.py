"""How well candidates are ordered for a query: recall, mean average precision, nDCG, reciprocal rank.

A ranking is `hits` bool [Q, M]: whether the candidate at each place, best first, is relevant to the query. Candidates with
equal scores stay in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.intervals import interval_of_mean

_SCORES = 2**24  # similarities that are sorted at once: 64 MB


class Side(NamedTuple):
    """What is searched, or searched with: features `x` [N, F], what makes two relevant `y` [N], and who they are `ids` [N]."""

    x: np.ndarray
    y: np.ndarray
    ids: np.ndarray


def rankings(queries: Side, candidates: Side) -> Iterator[np.ndarray]:
    """`hits` [q, M] of some queries at a time, by cosine over all candidates. One of the same id is no candidate.

    It takes the last place and is no hit, so that it changes none of the measures.
    """
    bank, at_once = _unit(candidates.x).T, max(1, _SCORES // len(candidates.x))
    for start in range(0, len(queries.x), at_once):
        x, y, ids = (part[start : start + at_once] for part in queries)
        own = ids[:, None] == candidates.ids
        scores = np.where(own, -np.inf, _unit(x) @ bank)
        order = np.argsort(-scores, axis=1, kind="stable")
        yield np.take_along_axis((y[:, None] == candidates.y) & ~own, order, axis=1)


def measured(rankings: Iterator[np.ndarray], ks: Sequence[int]) -> dict[str, Any]:
    """Means over queries that have a relevant candidate, and how many have (`queries`): `map`, `mrr`, and for each k
    `recall_<k>` and `ndcg_<k>`; the `interval` of the recall at the first k.

    Raises:
      UserError: no query has any.
    """
    parts = [_each(hits[hits.any(axis=1)], ks) for hits in rankings]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not len(found["map"]):
        raise UserError("no query has a relevant candidate; search among records of the same classes")
    means = {name: float(values.mean()) for name, values in found.items()}
    return means | {"queries": len(found["map"]), "interval": interval_of_mean(found[f"recall_{ks[0]}"])}


def _each(hits: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    at = {f"recall_{k}": recall(hits, k) for k in ks} | {f"ndcg_{k}": ndcg(hits, k) for k in ks}
    return {"map": average_precision(hits), "mrr": reciprocal_rank(hits)} | at


def average_precision(hits: np.ndarray) -> np.ndarray:
    """[Q]: the mean, over the relevant candidates, of the share of relevant ones among those up to it."""
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((precision * hits).sum(axis=1) / hits.sum(axis=1), np.float64)


def recall(hits: np.ndarray, k: int) -> np.ndarray:
    """[Q]: 1 where any of the first k is relevant (the recall of CLIP's papers), else 0."""
    return np.asarray(hits[:, :k].any(axis=1), np.float64)


def ndcg(hits: np.ndarray, k: int) -> np.ndarray:
    """[Q]: the sum of 1 / log2(1 + place) over relevant ones of the first k, over that of the best order (Jarvelin 2002)."""
    gain = 1 / np.log2(np.arange(2, k + 2))[: hits.shape[1]]
    best = gain.cumsum()[np.minimum(hits.sum(axis=1), len(gain)) - 1]
    return np.asarray(hits[:, :k] @ gain / best)


def reciprocal_rank(hits: np.ndarray) -> np.ndarray:
    """[Q]: 1 / place of the first relevant candidate."""
    return np.asarray(1 / (hits.argmax(axis=1) + 1.0))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
