"""Has the representation collapsed? Measures of spread, and one word for them.

None of these is a measure of quality, and RankMe compares runs of one method only. They say when something broke.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.ridge import STRENGTHS, ridge_classes
from ssl_jax.evaluate.spectrum import alpha_req, directions, effective_rank, energies, lidar, power_law
from ssl_jax.evaluate.spectrum import rankme as rankme
from ssl_jax.evaluate.sphere import alignment, uniformity

HEALTHY, DEGRADING, COLLAPSED = "healthy", "degrading", "collapsed"
# Embeddings have collapsed when so little of their first spread is left, or when they lie along so few directions and half of
# what they had is gone. A network may start along one direction, and a method that clusters may keep few: what proper and
# broken runs of each method keep is in docs/results/collapse.md.
SPREAD_LEFT, DIRECTIONS, DIRECTIONS_LEFT = 0.2, 1.7, 0.5
EARLY = (
    50  # steps in which embeddings may pass through a narrow cone on their way (CLIP: rank 3.9, 1.5 at step 8, then 40)
)
BEGUN = 10  # steps in which spreads may fall as far (:tiny at step 2: embeddings of DINO 0.34 to 0.06, features of DINOv2 0.008)
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
        """`feature_std`, `rankme`, `alpha_req` (None: too few directions) and `uniformity` of up to 10,000 training rows,
        with the
        number of rows and of `dimensions`."""
        x = split.train.x[:_MOST]
        slope = alpha_req(x)
        beside = {"alpha_req": None if np.isnan(slope) else slope, "uniformity": uniformity(x)}
        return {
            "feature_std": feature_std(x),
            "rankme": rankme(x),
            **beside,
            "n_train": len(x),
            "dimensions": x.shape[1],
        }


def feature_std(x: np.ndarray) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised rows, times sqrt(F) (Chen & He 2020, SimSiam, fig. 2).

    x [N, F]. About 1 for directions that are uniform on the sphere, 0 when all rows point the same way. Features that
    share a large mean lie lower: convolutional encoders with ReLU and transformers start at 0.15 to 0.55.
    """
    x = np.asarray(x, np.float64)
    z = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return float(z.std(axis=0).mean() * np.sqrt(x.shape[1]))


def measures(x: np.ndarray) -> dict[str, float]:
    """`feature_std`, `rankme`, `centred_rank` (RankMe of the features minus their mean) and `alpha_req`, for features [N, F].

    All are 0 where a feature is NaN or infinite: an encoder that diverged tells inputs apart no more. `alpha_req` is left out
    where too few directions are there for a slope.
    """
    if not np.isfinite(x).all():
        return {"feature_std": 0.0, "rankme": 0.0, "centred_rank": 0.0}
    centred = energies(x - x.mean(axis=0))
    alpha = power_law(centred)
    slope = {} if np.isnan(alpha) else {"alpha_req": alpha}
    return {"feature_std": feature_std(x), "rankme": rankme(x), "centred_rank": effective_rank(centred)} | slope


def embedding_measures(z: np.ndarray) -> dict[str, float]:
    """`embedding_std`, the root mean squared distance from the mean, `embedding_rank`, the `directions`, and `uniformity`, of
    [N, F].

    For what the loss compares (`Objective.embeddings`). All are 0 where a number is NaN or infinite.
    """
    if not np.isfinite(z).all():
        return {"embedding_std": 0.0, "embedding_rank": 0.0, "uniformity": 0.0}
    spread = float(np.sqrt(z.astype(np.float64).var(axis=0).sum()))
    return {"embedding_std": spread, "embedding_rank": directions(z), "uniformity": uniformity(z)}


def view_measures(views: np.ndarray) -> dict[str, float]:
    """`lidar` and `alignment` of the features [n, q, F] of q views of n records; {} where a number is not finite."""
    return {"lidar": lidar(views), "alignment": alignment(views)} if np.isfinite(views).all() else {}


def assignment_measures(p: np.ndarray) -> dict[str, float]:
    """Of soft assignments to K prototypes [N, K]: `assignment_entropy`, the mean entropy of a record's own in nats (ln K: it says
    nothing; 0: it is certain), and `prototype_usage`, the exponential of the entropy of their mean over K: the share in use."""
    entropy = lambda q: -np.sum(q * np.log(np.maximum(q, 1e-300)), axis=-1)  # noqa: E731
    p = p.astype(np.float64)
    used = np.exp(entropy(p.mean(axis=0))) / p.shape[1]
    return {"assignment_entropy": float(entropy(p).mean()), "prototype_usage": float(used)}


def ridge_accuracy(
    x: np.ndarray, y: np.ndarray, held_x: np.ndarray, held_y: np.ndarray, strengths: Sequence[float] = STRENGTHS
) -> float:
    """Held-out accuracy of a ridge classifier on one-hot targets: a probe in closed form, cheap enough for training.

    x [N, F] and held_x [M, F] are standardised by `x`. 0 where a feature is not finite.
    """
    if not (np.isfinite(x).all() and np.isfinite(held_x).all()):
        return 0.0
    return float((ridge_classes(x, y, held_x, strengths) == held_y).mean())


class Judgement(NamedTuple):
    """`word`: `healthy`, `degrading` or `collapsed`; why, in a sentence ("" where healthy); and the step of the first check
    of those
    that said so without a break (None: healthy, or the checks have no steps)."""

    word: str
    reason: str = ""
    since: int | None = None


def verdict(history: Sequence[Mapping[str, Any]]) -> str:
    """`healthy`, `degrading` or `collapsed`, from the checks so far (newest last) with the keys of `measures`.

    Several encoders or embeddings are told apart by `<key>/<name>`; the worst of them counts. A check may have its `step`:
    that of step 0 is of the untrained network.

    collapsed, by the features: all rows point the same way (from step 10 on: feature_std below 0.02, and below twice that of
        the first check: a network with a small LayerScale starts there, others above 0.1), or vary along fewer than about two
        directions (centred_rank below 2: random-initialised encoders lie above 10). The first check collapses only where
        features are constant or not finite.
    collapsed, by the embeddings that the loss compares, where they are measured: less than 0.2 is left of the embedding_std
        of the first check (from step 10 on); or, for two checks in a row (those of the first 50 steps aside), embedding_rank
        is below 1.7 and less than half is left of what it was above 1, where all rows are proportional. A head can map
        everything to a point or a line over an encoder that stays as it was drawn: without its variance term VICReg does.
    degrading: for two checks in a row, either rank is below half of its own best while the probe is at no new best, or
        `probe_accuracy` is below its best by 3 points and by twice `probe_error`, its standard error. Two checks, because a
        small probe set wavers. The untrained network's rank is no best: random features have a high one (a text encoder
        went from 51 to 13 while its probe rose from 24 to 38 %).
    """
    return _judged(history).word


def judgement(history: Sequence[Mapping[str, Any]]) -> Judgement:
    """The `verdict` with its reason, and since when."""
    now = _judged(history)
    ill = list(takewhile(lambda n: n and _judged(history[:n]).word != HEALTHY, range(len(history), 0, -1)))
    return now._replace(since=history[ill[-1] - 1].get("step")) if ill else now


def _judged(history: Sequence[Mapping[str, Any]]) -> Judgement:
    features, embeddings = _each(history, "feature_std"), _each(history, "embedding_std")
    gone = [*map(_features_gone, features), *map(_embeddings_gone, embeddings)]
    fell = [*map(_degrading, features)]
    for word, reasons in ((COLLAPSED, gone), (DEGRADING, fell)):
        if any(reasons):
            return Judgement(word, next(filter(None, reasons)))
    return Judgement(HEALTHY)


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


def _features_gone(history: Sequence[Mapping[str, Any]]) -> str:
    """Why the features have collapsed, or ""."""
    first, newest = history[0], history[-1]
    if not newest["feature_std"] > 0:
        return "features are the same for all records, or not finite"
    begun = newest.get("step", BEGUN) >= BEGUN
    if len(history) > 1 and begun and newest["feature_std"] < min(0.02, 2 * first["feature_std"]):
        return f"features of all records point the same way (std x sqrt(F) is {newest['feature_std']:.2g})"
    if len(history) > 1 and newest["centred_rank"] < 2:
        return f"features vary along {newest['centred_rank']:.2g} directions (RankMe without their mean)"
    return ""


def _embeddings_gone(history: Sequence[Mapping[str, Any]]) -> str:
    """Why what the loss compares has collapsed, or ""."""
    if len(history) < 2:
        return ""
    first, newest = history[0], history[-1]
    if newest["embedding_std"] < SPREAD_LEFT * first["embedding_std"] and newest.get("step", BEGUN) >= BEGUN:
        return f"embeddings went from a spread of {first['embedding_std']:.3g} to {newest['embedding_std']:.3g}"
    if all(_on_a_line(first, h) for h in history[-2:]):
        return (
            f"embeddings lie along {newest['embedding_rank']:.2g} directions, of {first['embedding_rank']:.3g} at first"
        )
    return ""


def _on_a_line(first: Mapping[str, Any], check: Mapping[str, Any]) -> bool:
    lost = check["embedding_rank"] - 1 < DIRECTIONS_LEFT * (first["embedding_rank"] - 1)
    return lost and check["embedding_rank"] < DIRECTIONS and check.get("step", EARLY) >= EARLY


def _degrading(history: Sequence[Mapping[str, Any]]) -> str:
    """Why the encoder gets worse, or ""."""
    fell = [_rank_fell(h) or _accuracy_fell(h) for h in (history, history[:-1])] if len(history) >= 2 else [""]
    return fell[0] if all(fell) else ""


def _rank_fell(history: Sequence[Mapping[str, Any]]) -> str:
    """Whether a rank is below half of its best since training began, and the probe is no better than ever."""
    trained = [h for h in history if h.get("step") != 0]
    *before, newest = _accuracies(history) or [0.0]
    if not trained or (before and newest > max(before)):
        return ""
    for key in ("rankme", "centred_rank"):
        best = max(h[key] for h in trained)
        if trained[-1][key] < 0.5 * best:
            return f"the rank of the features is {trained[-1][key]:.3g}, of {best:.3g} at best"
    return ""


def _accuracy_fell(history: Sequence[Mapping[str, Any]]) -> str:
    accuracies, margin = _accuracies(history), max(0.03, 2 * history[-1].get("probe_error", 0.0)) if history else 0.0
    if accuracies and accuracies[-1] < max(accuracies) - margin:
        return f"the online probe has {100 * accuracies[-1]:.1f} %, of {100 * max(accuracies):.1f} % at best"
    return ""


def _accuracies(history: Sequence[Mapping[str, Any]]) -> list[float]:
    return [h["probe_accuracy"] for h in history if h.get("probe_accuracy") is not None]
