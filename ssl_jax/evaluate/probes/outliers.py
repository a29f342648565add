"""Out-of-distribution detection: are records of classes that nobody named in training told from the others?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.detection import auroc, detection, energy, knn_distance, mahalanobis, max_softmax
from ssl_jax.evaluate.features import Split, standardise
from ssl_jax.evaluate.intervals import interval
from ssl_jax.evaluate.probes.linear import head_logits

RESAMPLES = 200


@dataclass(frozen=True)
class Probe:
    """Train records of the classes `held` are left out; test records of these are to be found among those of the others.

    Four scores: distance from the `k`-th neighbour by cosine, minus the largest softmax probability, energy (both of the linear
    head), Mahalanobis distance on standardised features. Nothing is chosen by the outliers.
    """

    held: Sequence[int] = (0,)
    k: int = 10
    seed: int = 0

    columns: ClassVar = (
        {"title": "OOD kNN", "value": "knn_auroc", "unit": "percent"},
        {"title": "OOD softmax", "value": "softmax_auroc", "unit": "percent"},
    )

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        classes = ", ".join(map(str, self.held))
        return (
            f"OOD: AUROC of test records of the classes {classes}, which train lacks, against the others; distance from "
            f"neighbour {self.k}, largest probability of the linear head"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """`<score>_auroc`, `_aupr`, `_fpr95` for the scores knn, softmax, energy, mahalanobis; counts of `outliers` and of
        others (`inliers`), `interval` of the first. Outliers are the positives."""
        strange = np.isin(split.test.labels, self.held)
        known = split.train.take(~np.isin(split.train.labels, self.held))
        if not strange.any() or strange.all() or len(np.unique(known.labels)) < 2:
            raise UserError(
                f"outliers: held={tuple(self.held)} leaves {len(np.unique(known.labels))} classes in train and "
                f"{int(strange.sum())} of {len(strange)} test records to find; hold out some classes of the test split"
            )
        found = self._scores(replace(split, train=known))
        each = {name: detection(score, strange) for name, score in found.items()}
        flat = {f"{name}_{key}": value for name, of in each.items() for key, value in of.items()}
        around = interval(lambda rows: auroc(found["knn"][rows], strange[rows]), len(strange), self.seed, RESAMPLES)
        return flat | {
            "interval": around,
            "outliers": int(strange.sum()),
            "inliers": int((~strange).sum()),
            "chance": 0.5,
        }

    def _scores(self, split: Split) -> dict[str, np.ndarray]:
        present, y = np.unique(split.train.labels, return_inverse=True)
        inner = replace(split, train=split.train._replace(y=y.astype(np.int32)), classes=len(present))
        logits = head_logits(inner, seed=self.seed)[0]
        train, test = standardise(split.train.x, split.test.x)
        return {
            "knn": knn_distance(split.train.x, split.test.x, self.k),
            "softmax": max_softmax(logits),
            "energy": energy(logits),
            "mahalanobis": mahalanobis(train, y, test),
        }
