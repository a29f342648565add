"""Has the representation collapsed? Measures of spread, and one word for them.

None of these is a measure of quality, and RankMe compares runs of one method only. They say when something broke.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.ridge import STRENGTHS, ridge_classes

HEALTHY, DEGRADING, COLLAPSED = "healthy", "degrading", "collapsed"
# Embeddings have collapsed when so little of their first spread is left, or when they lie along so few directions and half of
# what they had is gone. A network may start along one direction, and a method that clusters may keep few: what proper and
# broken runs of each method keep is in docs/results/collapse.md.
SPREAD_LEFT, DIRECTIONS, DIRECTIONS_LEFT = 0.2, 1.7, 0.5
EARLY = (
    50  # steps in which embeddings may pass through a narrow cone on their way (CLIP: rank 3.9, 1.5 at step 8, then 40)
)
_MOST = 10_000  # rows that the table measures; the paper uses 25,600


@dataclass(frozen=True)
class Probe:
    """The collapse measures of the training features, as columns of the table."""

    columns: ClassVar = (
        {"title": "feature std", "value": "feature_std", "unit": "number"},
        {"title": "RankMe", "value": "rankme", "unit": "number"},
    )
    protocol: ClassVar = "feature std x sqrt(F) and RankMe: of train features; RankMe compares runs of one method only"
    labelled: ClassVar = False
    chosen: ClassVar = ()

    def run(self, split: Split) -> dict[str, Any]:
        """`feature_std` and `rankme` of up to 10,000 training rows, with the number of rows and of `dimensions`."""
        x = split.train.x[:_MOST]
        return {"feature_std": feature_std(x), "rankme": rankme(x), "n_train": len(x), "dimensions": x.shape[1]}


def feature_std(x: np.ndarray) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised rows, times sqrt(F) (Chen & He 2020, SimSiam, fig. 2).

    x [N, F]. About 1 for directions that are uniform on the sphere, 0 when all rows point the same way. Features that
    share a large mean lie lower: convolutional encoders with ReLU and transformers start at 0.15 to 0.55.
    """
    x = np.asarray(x, np.float64)
    z = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return float(z.std(axis=0).mean() * np.sqrt(x.shape[1]))


def rankme(x: np.ndarray, epsilon: float = 1e-7) -> float:
    """Effective rank: the exponential of the entropy of normalised singular values (Garrido et al. 2022, arXiv 2210.02885).

    x [N, F], not centred. `p = s / sum(s) + epsilon`; between 1 (all rows proportional) and min(N, F).
    """
    s = np.sqrt(_energies(x))
    p = s / max(s.sum(), 1e-300) + epsilon
    return float(np.exp(-np.sum(p * np.log(p))))


def directions(x: np.ndarray) -> float:
    """Along how many directions rows lie: the exponential of the entropy of normalised squared singular values.

    x [N, F], not centred; the entropy is that of von Neumann (Kim et al. 2023, "VNE", arXiv 2304.01434). Between 1
    (all rows proportional, or all zero) and min(N, F). A long tail of small singular values, which `rankme` counts, weighs
    little here: one strong direction gives nearly 1.
    """
    energy = _energies(x)
    p = energy / max(energy.sum(), 1e-300)
    return float(np.exp(-np.sum(p * np.log(np.maximum(p, 1e-300)))))


def _energies(x: np.ndarray) -> np.ndarray:
    """Squared singular values of x [N, F]: eigenvalues of the smaller Gram matrix, in float64.

    What that rounds away is below the `epsilon` of `rankme`.
    """
    x = np.asarray(x, np.float64)
    with threadpool_limits(1, user_api="blas"):  # on a busy machine the threads of a decomposition wait for each other
        return np.maximum(np.linalg.eigvalsh(x @ x.T if len(x) < x.shape[1] else x.T @ x), 0)


def measures(x: np.ndarray) -> dict[str, float]:
    """`feature_std`, `rankme`, and `centred_rank` (RankMe of the features minus their mean), for features [N, F].

    All are 0 where a feature is NaN or infinite: an encoder that diverged tells inputs apart no more.
    """
    if not np.isfinite(x).all():
        return {"feature_std": 0.0, "rankme": 0.0, "centred_rank": 0.0}
    return {"feature_std": feature_std(x), "rankme": rankme(x), "centred_rank": rankme(x - x.mean(axis=0))}


def embedding_measures(z: np.ndarray) -> dict[str, float]:
    """`embedding_std`, the root mean squared distance from the mean, and `embedding_rank`, the `directions`, of [N, F].

    For what the loss compares (`Objective.embeddings`). Both are 0 where a number is NaN or infinite.
    """
    if not np.isfinite(z).all():
        return {"embedding_std": 0.0, "embedding_rank": 0.0}
    return {"embedding_std": float(np.sqrt(z.astype(np.float64).var(axis=0).sum())), "embedding_rank": directions(z)}


def ridge_accuracy(
    x: np.ndarray, y: np.ndarray, held_x: np.ndarray, held_y: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> float:
    """Held-out accuracy of a ridge classifier on one-hot targets: a probe in closed form, cheap enough for training.

    x [N, F] and held_x [M, F] are standardised by `x`. 0 where a feature is not finite.
    """
    if not (np.isfinite(x).all() and np.isfinite(held_x).all()):
        return 0.0
    return float((ridge_classes(x, y, held_x, strengths) == held_y).mean())


def verdict(history: Sequence[Mapping[str, Any]]) -> str:
    """`healthy`, `degrading` or `collapsed`, from the checks so far (newest last) with the keys of `measures`.

    Several encoders or embeddings are told apart by `<key>/<name>`; the worst of them counts. A check may have its `step`:
    that of step 0 is of the untrained network.

    collapsed, by the features: all rows point the same way (feature_std below 0.02, and below twice that of the first
        check: a network with a small LayerScale starts there, others above 0.1), or vary along fewer than about two
        directions (centred_rank below 2: random-initialised encoders lie above 10). The first check collapses only where
        features are constant or not finite.
    collapsed, by the embeddings that the loss compares, where they are measured: less than 0.2 is left of the embedding_std
        of the first check; or, for two checks in a row (those of the first 50 steps aside), embedding_rank is below 1.7 and
        less than half is left of what it was above 1, where all rows are proportional. A head can map everything to a point
        or a line over an encoder that stays as it was drawn: without its variance term VICReg does.
    degrading: for two checks in a row, either rank is below half of its own best while the probe is at no new best, or
        `probe_accuracy` is below its best by 3 points and by twice `probe_error`, its standard error. Two checks, because a
        small probe set wavers. The untrained network's rank is no best: random features have a high one (a text encoder
        went from 51 to 13 while its probe rose from 24 to 38 %).
    """
    features, embeddings = _each(history, "feature_std"), _each(history, "embedding_std")
    if any(map(_features_gone, features)) or any(map(_embeddings_gone, embeddings)):
        return COLLAPSED
    return DEGRADING if any(map(_degrading, features)) else HEALTHY


def named(measured: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Measures of one encoder, or embedding, of several: `<key>/<name>`; "" leaves the keys as they are."""
    return {_key(key, name): value for key, value in measured.items()}


def _key(key: str, name: str) -> str:
    return f"{key}/{name}" if name else key


def _each(history: Sequence[Mapping[str, Any]], key: str) -> list[list[dict[str, Any]]]:
    """The checks that have `key`, for each name under which the newest has it; without the names."""
    names = [k.partition("/")[2] for k in history[-1] if k.partition("/")[0] == key]
    return [[_of(check, name) for check in history if _key(key, name) in check] for name in names]


def _of(check: Mapping[str, Any], name: str) -> dict[str, Any]:
    parts = [(*key.partition("/")[::2], value) for key, value in check.items()]
    return {key: value for key, owner, value in parts if owner == name or key == "step"}


def _features_gone(history: Sequence[Mapping[str, Any]]) -> bool:
    first, newest = history[0], history[-1]
    if not newest["feature_std"] > 0:
        return True
    same_way = newest["feature_std"] < min(0.02, 2 * first["feature_std"])
    return len(history) > 1 and (same_way or newest["centred_rank"] < 2)


def _embeddings_gone(history: Sequence[Mapping[str, Any]]) -> bool:
    if len(history) < 2:
        return False
    if history[-1]["embedding_std"] < SPREAD_LEFT * history[0]["embedding_std"]:
        return True
    return all(_on_a_line(history[0], h) for h in history[-2:])


def _on_a_line(first: Mapping[str, Any], check: Mapping[str, Any]) -> bool:
    lost = check["embedding_rank"] - 1 < DIRECTIONS_LEFT * (first["embedding_rank"] - 1)
    return lost and check["embedding_rank"] < DIRECTIONS and check.get("step", EARLY) >= EARLY


def _degrading(history: Sequence[Mapping[str, Any]]) -> bool:
    return len(history) >= 2 and all(_rank_fell(h) or _accuracy_fell(h) for h in (history, history[:-1]))


def _rank_fell(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a rank is below half of its best since training began, and the probe is no better than ever."""
    trained = [h for h in history if h.get("step") != 0]
    *before, newest = _accuracies(history) or [0.0]
    if not trained or (before and newest > max(before)):
        return False
    return any(trained[-1][key] < 0.5 * max(h[key] for h in trained) for key in ("rankme", "centred_rank"))


def _accuracy_fell(history: Sequence[Mapping[str, Any]]) -> bool:
    accuracies, margin = _accuracies(history), max(0.03, 2 * history[-1].get("probe_error", 0.0))
    return bool(accuracies) and accuracies[-1] < max(accuracies) - margin


def _accuracies(history: Sequence[Mapping[str, Any]]) -> list[float]:
    return [h["probe_accuracy"] for h in history if h.get("probe_accuracy") is not None]
