"""The check that runs during pretraining: collapse measures and a cheap probe, never on the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.sources import Subset
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import extract_all, standardise
from ssl_jax.evaluate.probes.health import embedding_measures, measures, ridge_accuracy, verdict
from ssl_jax.objectives.base import Batch, Objective, State
from ssl_jax.recipe import Recipe


class OnlineCheck:
    """Call it with a training state: `{"health": word, "feature_std": ..., "rankme": ..., "probe_accuracy": ...}`.

    The features are those of the recipe's `evaluate.encoder` on `evaluate.health_examples` records of the probe source:
    a fixed random half fits the probe, the other half scores it. Without a probe source the pretraining one is used, and
    without labels there is no probe. `history` holds the records of earlier checks of this run.
    """

    def __init__(self, recipe: Recipe, objective: Objective, history: Sequence[Mapping[str, Any]] = ()) -> None:
        source = (recipe.data.probe or recipe.data.pretrain).build()
        count = min(recipe.evaluate.health_examples, len(source))
        self._source = Subset(source, 0.0, count / len(source), seed=recipe.seed)
        self._encoder = encoder_named(objective, recipe.evaluate.encoder)
        self._embedder = Embedder(objective)
        self._history = [h for h in history if "health" in h]

    def __call__(self, state: Any) -> dict[str, Any]:
        """Measure `state` (anything with `params` and `extra`)."""
        variables = self._encoder.variables(State(state.params, state.extra))
        whole = {"params": state.params, "extra": state.extra}
        seen = {"features": (self._encoder, variables), "embeddings": (self._embedder, whole)}
        features, embeddings = extract_all(seen, self._source).values()
        found: dict[str, Any] = measures(features.x)
        found |= embedding_measures(embeddings.x) if embeddings.x.shape[1] else {}
        if features.y is not None and len(features.x) > 1:
            fit, score = np.array_split(np.random.default_rng(0).permutation(len(features.x)), 2)
            x, held = standardise(features.x[fit], features.x[score])
            accuracy = ridge_accuracy(x, features.y[fit], held, features.y[score])
            found |= {"probe_accuracy": accuracy, "probe_error": float(np.sqrt(accuracy * (1 - accuracy) / len(score)))}
        self._history.append(found)
        return {"health": verdict(self._history)} | found


@dataclass(frozen=True)
class Embedder:
    """What the objective compares, in the place of an encoder: its `variables` are `params` and `extra`."""

    objective: Objective

    def features(self, variables: dict, batch: Batch) -> Array:
        """Embeddings [B, F] of a batch of records; F is 0 for an objective that compares nothing."""
        found = self.objective.embeddings(variables["params"], variables["extra"], batch)
        first = next(iter(batch.values()))
        return jnp.concatenate([jnp.zeros((len(first), 0)), *(z.astype(jnp.float32) for z in found.values())], axis=1)


def encoder_named(objective: Objective, name: str) -> Any:
    """The objective's encoder of that name; UserError with the names it has."""
    encoders = objective.encoders()
    if name not in encoders:
        raise UserError(
            f"evaluate.encoder={name!r} is unknown to {type(objective).__name__}; use {' or '.join(encoders)}"
        )
    return encoders[name]
