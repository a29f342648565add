"""What an encoder makes of records: features for pairs that hashes found, and for the card of a set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.audit.run import Sets

BATCH = 64


def embedder(run: Path, allow: tuple[str, ...] = ()) -> Callable[[Any, np.ndarray], np.ndarray]:
    """`embed(source, ids [n]) -> [n, F]`, the frozen features of the run's first encoder of `evaluate.encoder`.

    Raises UserError for no run, no checkpoint, and records that it cannot read.
    """
    from ssl_jax.evaluate.baselines import Rows
    from ssl_jax.evaluate.features import extract
    from ssl_jax.evaluate.online import encoder_named, names_of
    from ssl_jax.training.reopen import open_run

    opened = open_run(run, allow=allow)
    encoder = encoder_named(opened.objective, names_of(opened.recipe.evaluate.encoder)[0])
    variables = encoder.variables(opened.state)

    def embed(source: Any, ids: np.ndarray) -> np.ndarray:
        x = extract(encoder, variables, Rows(source, ids), min(BATCH, len(ids))).x
        return x if x.ndim == 2 else x.mean(axis=1)

    return embed


def similarity_of(run: Path, allow: tuple[str, ...] = ()) -> Callable[[Sets, np.ndarray, np.ndarray], np.ndarray]:
    """The cosine [P] of the features of pairs of places."""
    embed = embedder(run, allow)

    def similarity(sets: Sets, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        places, number = np.unique(np.concatenate([i, j]), return_inverse=True)
        first = len(sets.sources[0].source)
        parts = [places[places < first], places[places >= first] - first]
        found = [embed(one.source, ids) for one, ids in zip(sets.sources, parts, strict=False) if len(ids)]
        x = np.concatenate(found)
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        return (x[number[: len(i)]] * x[number[len(i) :]]).sum(axis=1)

    return similarity
