"""Clustering: do groups that are found in the features without any label agree with the classes?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.evaluate.clustering import agreement, kmeans, nmi
from ssl_jax.evaluate.confusion import IGNORED
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.intervals import interval

RESAMPLES = 200


@dataclass(frozen=True)
class Probe:
    """k-means on the test features as they are, in `clusters` groups (None: the number of classes); labels only compare.

    Nothing is learnt from train. The best of `restarts` by inertia; another `seed` is another start.
    """

    clusters: int | None = None
    restarts: int = 3
    seed: int = 0

    columns: ClassVar = (
        {"title": "NMI", "value": "nmi", "unit": "percent"},
        {"title": "ARI", "value": "ari", "unit": "percent"},
        {"title": "clusters", "value": "accuracy", "unit": "percent"},
    )

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        count = "as many clusters as classes" if self.clusters is None else f"{self.clusters} clusters"
        return (
            f"clustering: k-means of test features, {count}, best of {self.restarts} starts by inertia; NMI, ARI, and accuracy "
            "under the best matching of clusters to classes"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """`nmi` with its `interval` (of these clusters), `ari` and Hungarian `accuracy` of the labelled test
        records, `chance` (of the accuracy), `clusters`."""
        y, count = split.test.labels, self.clusters or split.classes
        found = kmeans(split.test.x, min(count, len(split.test.x)), self.seed, self.restarts)
        told = y != IGNORED
        share = float(np.bincount(y[told]).max() / told.sum())
        kept, y = found[told], y[told]
        around = interval(lambda rows: nmi(kept[rows], y[rows]), len(y), self.seed, RESAMPLES)
        return agreement(kept, y) | {"interval": around, "chance": share, "clusters": count, "n_test": len(y)}
