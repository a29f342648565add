"""The check that runs during pretraining: collapse measures and a cheap probe, never on the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.fit import check_records
from ssl_jax.data.sources import Subset
from ssl_jax.devices.mesh import replicate
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, collect, standardise
from ssl_jax.evaluate.probes.health import (
    HEALTHY,
    assignment_measures,
    embedding_measures,
    judgement,
    measures,
    named,
    ridge_accuracy,
    view_measures,
)
from ssl_jax.objectives.base import Batch, Encoder, Objective, State
from ssl_jax.recipe import Recipe


class OnlineCheck:
    """Call it with a training state: `{"health": word, "feature_std": ..., "rankme": ..., "probe_accuracy": ...}`.

    Where the word is not `healthy`, `health_reason` says why and `health_since` the step of the first check that said so.

    The features are those of the recipe's `evaluate.encoder` on `evaluate.health_examples` records of the probe source:
    a fixed random half fits the probe, the other half scores it. Without a probe source the pretraining one is used, and
    without labels there is no probe. The first encoder has its measures under their plain names, others theirs under
    `<measure>/<name>`, and so have embeddings if there are several. `history` holds the records of earlier checks of this run.
    """

    def __init__(self, recipe: Recipe, objective: Objective, history: Sequence[Mapping[str, Any]] = ()) -> None:
        source = (recipe.data.probe or recipe.data.pretrain).build()
        count = min(recipe.evaluate.health_examples, len(source))
        augment = getattr(objective, "augment", None)
        self.source = check_records(augment, source, BadRecords(recipe.data.max_bad_fraction))
        self._source = Subset(self.source, 0.0, count / len(source), seed=recipe.seed)
        self._bad = BadRecords(recipe.data.max_bad_fraction, total=len(source))
        self._label, self._target = recipe.evaluate.label, recipe.evaluate.target or None
        self._encoders = {name: encoder_named(objective, name) for name in names_of(recipe.evaluate.encoder)}
        views = recipe.health.views
        self._outputs = jax.jit(lambda state, batch: replicate(outputs(objective, self._encoders, state, batch, views)))
        self._history = [h for h in history if "health" in h]
        #: The step of the newest check that said so; None where none did.
        self.last_healthy = max((h["step"] for h in self._history if h["health"] == HEALTHY), default=None)

    def __call__(self, state: Any) -> dict[str, Any]:
        """Measure `state` (anything with `params` and `extra`, and perhaps a `step`)."""
        read = State(state.params, state.extra)
        seen = collect(
            lambda batch: self._outputs(read, batch),
            self._source,
            label=self._label,
            target=self._target,
            bad=self._bad,
        )
        found: dict[str, Any] = {}
        for number, name in enumerate(self._encoders):
            x = seen.pop(f"features/{name}")
            found |= named(measures(_rows(x)) | probed(x), name if number else "")
        for kind, measured in _KINDS.items():
            of_kind = {key.partition("/")[2]: z.x for key, z in seen.items() if key.startswith(f"{kind}/")}
            for name, z in of_kind.items():
                found |= named(measured(z), name if len(of_kind) > 1 else "")
        step = getattr(state, "step", None)
        self._history.append(found | ({} if step is None else {"step": int(step)}))
        word, reason, since = judgement(self._history)
        if word == HEALTHY:
            self.last_healthy = self._history[-1].get("step")
            return {"health": word} | found
        return {"health": word, "health_reason": reason, "health_since": since} | found


# What is measured of the outputs of each kind, beside the features.
_KINDS = {"embeddings": embedding_measures, "assignments": assignment_measures, "views": view_measures}


def outputs(
    objective: Objective, encoders: Mapping[str, Encoder], state: State, batch: Batch, views: int = 0
) -> dict[str, Array]:
    """What a check looks at, of a batch of records, float32: `features/<encoder>`, `embeddings/<name>` and `assignments/<name>`
    [B, F], and with `views` the features `views/<encoder>` [B, views, F] of so many augmented views of each record."""
    features = {
        f"features/{name}": encoder.features(encoder.variables(state), batch) for name, encoder in encoders.items()
    }
    parts = {
        "embeddings": objective.embeddings(state.params, state.extra, batch),
        "assignments": objective.assignments(state.params, state.extra, batch),
        "views": {name: view_features(objective, e, state, batch, views) for name, e in encoders.items() if views},
    }
    return features | {f"{kind}/{k}": z.astype(jnp.float32) for kind, found in parts.items() for k, z in found.items()}


def view_features(objective: Objective, encoder: Encoder, state: State, batch: Batch, views: int) -> Array:
    """Features [B, views, F] of augmented views of each record, drawn from the place in the batch and the number of the view."""
    rows, variables = jnp.arange(len(next(iter(batch.values())))), encoder.variables(state)

    def one(number: Array) -> Array:
        keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.fold_in(jax.random.key(0), number), row))(rows)
        drawn = objective.augment(keys, batch)
        given = (drawn[name][:, 0] for name in encoder.inputs)
        seen = cast(Array, encoder.module.apply(variables, *given, method=encoder.method))
        return seen.reshape(len(rows), -1, seen.shape[-1]).mean(axis=1)

    return jnp.moveaxis(jax.lax.map(one, jnp.arange(views)), 0, 1)


def probed(features: Features) -> dict[str, float]:
    """`probe_accuracy` of a ridge classifier on a random half of the features, and `probe_error`; {} without labels."""
    if features.y is None or np.sum(features.y >= 0) < 2:
        return {}
    labelled = features.y >= 0
    x, y = _rows(features)[labelled], features.y[labelled]
    fit, score = np.array_split(np.random.default_rng(0).permutation(len(x)), 2)
    standard, held = standardise(x[fit], x[score])
    accuracy = ridge_accuracy(standard, y[fit], held, y[score])
    return {"probe_accuracy": accuracy, "probe_error": float(np.sqrt(accuracy * (1 - accuracy) / len(score)))}


def names_of(encoder: str | Sequence[str]) -> tuple[str, ...]:
    """The names in `evaluate.encoder`: one, several with commas between them, or a sequence of such."""
    parts = encoder.split(",") if isinstance(encoder, str) else [part for e in encoder for part in e.split(",")]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def encoder_named(objective: Objective, name: str) -> Encoder:
    """The objective's encoder of that name; UserError with the names it has."""
    encoders = objective.encoders()
    if name not in encoders:
        raise UserError(
            f"evaluate.encoder={name!r} is unknown to {type(objective).__name__}; use {' or '.join(encoders)}"
        )
    return encoders[name]


def _rows(features: Features) -> np.ndarray:
    """One row for each record: the mean over tokens, where there are several."""
    return features.x if features.x.ndim == 2 else features.x.mean(axis=1)
