"""Multi-label probe: a linear head with a sigmoid for each label, measured by mean average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.batches import standardised
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.heads import LABELS, Linear
from ssl_jax.evaluate.intervals import interval
from ssl_jax.evaluate.lanes import Training, adamw, grid
from ssl_jax.evaluate.selection import Candidate, selected

_RESAMPLES = 200  # each sorts the records once for every label


@dataclass(frozen=True)
class Probe:
    """The records' field `evaluate.target` is 0 or 1 for each label. Rate and decay by loss on a slice of train.

    mAP is the mean over the labels that some test record has and some has not; the others have no precision.
    """

    rates: Sequence[float] = (1e-4, 1e-3, 1e-2, 0.1)
    decays: Sequence[float] = (1e-4, 1e-2, 1.0)
    epochs: int = 20
    batch_size: int = 256
    held_out: float = 0.1
    seed: int = 0

    labelled: ClassVar = False
    chosen: ClassVar = ("rate", "decay", "held_out")
    columns: ClassVar = ({"title": "mAP", "value": "map", "unit": "percent"},)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return (
            f"mAP: linear head with a sigmoid for each label on standardised features, AdamW, {self.epochs} epochs of batches of "
            f"{self.batch_size}, {len(self.rates)} rates x {len(self.decays)} decays by loss on {100 * self.held_out:g} % of "
            "train held out, refitted on all of train; mean over labels of average precision"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """Test `map` with `interval` and `chance` (that of random scores), `auroc` (mean over labels), average precision of
        `each` label (None without one), the chosen `rate` and `decay`, the `held_out` curve, and counts.

        Raises UserError where the field is missing, holds other numbers than 0 and 1, or no label can be measured.
        """
        train, test = (marks_of(part) for part in (split.train, split.test))
        count = len(train)
        held = np.random.default_rng(self.seed).permutation(count) < max(1, round(self.held_out * count))
        head = Linear(split.train.x.shape[1], train.shape[1])
        candidate = Candidate("own", split.train.x, split.test.x, standardised(split.train.x), head)
        training = Training(adamw, self.epochs, self.batch_size, 0, self.seed)
        choice = selected([candidate], LABELS, train.astype(np.float32), held, grid(self.rates, self.decays), training)
        both = np.asarray(test.any(axis=0) & ~test.all(axis=0))
        if not both.any():
            raise UserError("multilabel: every label is the same for all test records; use a larger test split")
        scores, marks = choice.outputs[:, both], test[:, both]
        each = dict(zip(np.flatnonzero(both).tolist(), precision(scores, marks), strict=True))
        return {
            "map": float(np.mean(list(each.values()))),
            "interval": interval(
                lambda rows: _mean_precision(scores[rows], marks[rows]), len(test), self.seed, _RESAMPLES
            ),
            "chance": float(marks.mean()),
            "auroc": auroc(scores, marks),
            "each": [each.get(label) for label in range(test.shape[1])],
            "n_labels": int(both.sum()),
            "n_train": count,
            "n_held_out": int(held.sum()),
            "n_test": len(test),
        } | choice.told("reading")


def precision(scores: np.ndarray, marks: np.ndarray) -> list[float]:
    """Average precision of each label, [T]; `scores` [N, T], `marks` bool [N, T]."""
    from sklearn.metrics import average_precision_score

    return [float(average_precision_score(*pair)) for pair in zip(marks.T, scores.T, strict=True)]


def auroc(scores: np.ndarray, marks: np.ndarray) -> float:
    """Area under the ROC curve, mean over labels."""
    from sklearn.metrics import roc_auc_score

    return float(np.mean([roc_auc_score(*pair) for pair in zip(marks.T, scores.T, strict=True)]))


def _mean_precision(scores: np.ndarray, marks: np.ndarray) -> float:
    """Over the labels that some of these records have."""
    there = marks.any(axis=0)
    return float(np.mean(precision(scores[:, there], marks[:, there])))


def marks_of(part: Features) -> np.ndarray:
    """Bool [N, T]."""
    if part.target is None:
        raise UserError(
            "the probe multilabel needs 0 or 1 for each label; set evaluate.target to a field of the records"
        )
    if not np.isin(part.target, (0, 1)).all():
        wrong = part.target[~np.isin(part.target, (0, 1))][0]
        raise UserError(
            f"the probe multilabel needs 0 or 1 for each label, and evaluate.target holds {wrong:g}; name another field"
        )
    return part.target == 1
