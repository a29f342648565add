"""Anomalies in series: does a window's distance from normal ones tell which points are wrong?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.detection import detection, knn_distance
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.probes.frames import at_tokens


@dataclass(frozen=True)
class Probe:
    """The score of a token of a test record is the distance from its `k`-th neighbour among at most `bank` train tokens.

    Marks are the field `marks` of the records, [L], 1 where something is wrong; train tokens with a mark are left out of the
    bank. Without tokens [N, T, D] each record is one point. Point-wise, without adjustment: a long anomaly is not found by one
    hit, since that lets noise score high (Kim et al. 2022, arXiv 2109.05257).
    """

    marks: str = "anomaly"
    k: int = 5
    bank: int = 20_000
    seed: int = 0

    labelled: ClassVar = False
    tokens: ClassVar = True
    columns: ClassVar = (
        {"title": "anomaly AUROC", "value": "auroc", "unit": "percent"},
        {"title": "anomaly AUPR", "value": "aupr", "unit": "percent"},
    )

    @property
    def fields(self) -> tuple[str, ...]:
        """The field that says where something is wrong."""
        return (self.marks,)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return f"anomaly: distance from neighbour {self.k} among unmarked train tokens, point-wise, without adjustment"

    def run(self, split: Split) -> dict[str, Any]:
        """`auroc`, `aupr` (chance is `share`, the share of marked points) and `fpr95` over all points of test records."""
        train, _ = self._points(split.train.x, split.train.fields[self.marks], wrong=False)
        test, wrong = self._points(split.test.x, split.test.fields[self.marks])
        if not wrong.any() or wrong.all() or not len(train):
            raise UserError(
                f"anomaly: {int(wrong.sum())} of {len(wrong)} test points are marked in {self.marks!r}, and {len(train)} train "
                "points are not; both kinds are needed in test, unmarked ones in train"
            )
        chosen = np.random.default_rng(self.seed).permutation(len(train))[: self.bank]
        found = detection(knn_distance(train[chosen], test, self.k), wrong)
        return found | {"share": float(wrong.mean()), "n_test": len(wrong), "bank": len(chosen)}

    def _points(self, x: np.ndarray, marks: np.ndarray, wrong: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows [P, D] and their marks [P]; those of one kind, if `wrong` is said."""
        x = x[:, None] if x.ndim == 2 else x
        own = at_tokens(marks.reshape(len(marks), -1) > 0, x.shape[1], np.any).ravel()
        rows = x.reshape(-1, x.shape[-1])
        return (rows, own) if wrong is None else (rows[own == wrong], own[own == wrong])
