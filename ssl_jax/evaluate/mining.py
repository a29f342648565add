"""Hard negatives: the passages that an encoder takes for a query's own, and that are others (Karpukhin et al. 2020, section 3.2;
Xiong et al. 2020, "Approximate Nearest Neighbor Negative Contrastive Learning", arXiv 2007.00808)."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.fit import check_records
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, extract_all
from ssl_jax.evaluate.neighbours import neighbours
from ssl_jax.evaluate.progress import Tick, unheard
from ssl_jax.training.reopen import Opened

TOWERS = ("query", "passage")


def hard_negatives(opened: Opened, source: Any, depth: int, heard: Tick = unheard) -> np.ndarray:
    """Records int32 [N, depth] whose passages are nearest by cosine to each query of `source`, its own left out.

    Own are also the passages of records that the objective's field `same` tells to be the same.

    Raises UserError for a run without encoders of queries and passages, unreadable records, and a depth that is too large.
    """
    queries, passages = _encoded(opened, source, heard)
    named = getattr(opened.objective, "same", "")
    same = np.arange(len(queries.x)) if not named else queries.fields[named]
    return nearest_others(queries.x, passages.x, same, depth)


def nearest_others(queries: np.ndarray, passages: np.ndarray, same: np.ndarray, depth: int) -> np.ndarray:
    """Places int32 [N, depth] of the `passages` [N, F] nearest to each of `queries` [N, F] among those of another `same` [N].

    >>> rows = np.array([[1.0, 0.2], [1.0, 0.0], [0.0, 1.0]])
    >>> nearest_others(rows, rows, np.arange(3), 1).ravel().tolist()
    [1, 0, 0]
    """
    twins = int(np.unique(same, return_counts=True)[1].max())
    if depth > len(passages) - twins:
        raise UserError(f"--depth {depth}: a query has {len(passages) - twins} passages of others; use a smaller depth")
    _, found = neighbours(passages, queries, depth + twins)
    own = same[found] == same[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :depth]  # others first, nearest first among them
    return np.take_along_axis(found, order, axis=1).astype(np.int32)


def _encoded(opened: Opened, source: Any, heard: Tick) -> tuple[Features, Features]:
    """What the encoders make of the queries and of the passages of every record."""
    encoders = opened.objective.encoders()
    if not set(TOWERS) <= set(encoders):
        raise UserError(
            f"this run has the encoders {', '.join(encoders)}; mining needs query and passage, as objectives.biencoder has"
        )
    check_records(opened.objective.augment, source, BadRecords(0.0))
    towers = {name: (encoders[name], encoders[name].variables(opened.state)) for name in TOWERS}
    fields = tuple(name for name in (getattr(opened.objective, "same", ""),) if name)
    with jax.set_mesh(opened.mesh):
        found = extract_all(towers, source, label=opened.recipe.evaluate.label, fields=fields, tick=heard)
    return found["query"], found["passage"]
