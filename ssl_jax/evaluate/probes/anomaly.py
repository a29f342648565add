"""Anomalies in series: does a window's distance from normal ones tell which points are wrong?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.detection import detection, knn_distance
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.probes.frames import TOKENS, at_tokens
from ssl_jax.evaluate.readings import OWN, Reading

SCORES = ("distance", "itself")
READ = {"own": OWN, "tokens": TOKENS}


@dataclass(frozen=True)
class Probe:
    """The score of a token of a test record is the distance from its `k`-th neighbour among at most `bank` train tokens.

    Marks are the field `marks` of the records, [L], 1 where something is wrong; train tokens with a mark are left out of the
    bank. Point-wise, without adjustment: a long anomaly is not found by one hit, since that lets noise score high (Kim et al.
    2022, arXiv 2109.05257).

    read: "own" features of the encoder, of which a record without tokens [N, T, D] is one point, or its "tokens"; rows without
      any are left out then.
    score: "distance", or "itself": the features are the score, one number for each token, as PatchTST's `surprise` gives them,
      the error of its reconstruction.
    """

    marks: str = "anomaly"
    k: int = 5
    bank: int = 20_000
    read: str = "own"
    score: str = "distance"
    seed: int = 0

    labelled: ClassVar = False
    tokens: ClassVar = True
    columns: ClassVar = (
        {"title": "anomaly AUROC", "value": "auroc", "unit": "percent"},
        {"title": "anomaly AUPR", "value": "aupr", "unit": "percent"},
    )

    def __post_init__(self) -> None:
        for name, value, known in (("score", self.score, SCORES), ("read", self.read, READ)):
            if value not in known:
                raise UserError(f"anomaly: {name}={value!r} is unknown; use one of {', '.join(known)}")

    @property
    def fields(self) -> tuple[str, ...]:
        """The field that says where something is wrong."""
        return (self.marks,)

    @property
    def needs(self) -> tuple[Reading, ...]:
        """What is read of an encoder."""
        return (READ[self.read],)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        by = {
            "distance": f"distance from neighbour {self.k} among unmarked train tokens",
            "itself": "what the encoder gives",
        }
        return f"anomaly: {by[self.score]}, point-wise, without adjustment"

    def run(self, split: Split) -> dict[str, Any]:
        """`auroc`, `aupr` (chance is `share`, the share of marked points) and `fpr95` over all points of test records."""
        seen = split if READ[self.read] == OWN else split.readings[READ[self.read]]
        train, _ = self._points(seen.train.x, split.train.fields[self.marks], wrong=False)
        test, wrong = self._points(seen.test.x, split.test.fields[self.marks])
        if not wrong.any() or wrong.all() or not len(train):
            raise UserError(
                f"anomaly: {int(wrong.sum())} of {len(wrong)} test points are marked in {self.marks!r}, and {len(train)} train "
                "points are not; both kinds are needed in test, unmarked ones in train"
            )
        found = detection(self._scores(train, test), wrong)
        return found | {"share": float(wrong.mean()), "n_test": len(wrong), "bank": min(len(train), self.bank)}

    def _scores(self, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """How strange each of the rows `test` [P, D] is, [P]."""
        if self.score == "distance":
            chosen = np.random.default_rng(self.seed).permutation(len(train))[: self.bank]
            return knn_distance(train[chosen], test, self.k)
        if test.shape[1] != 1:
            raise UserError(
                f"anomaly: score='itself' takes one number for each token, and this encoder gives {test.shape[1]}"
            )
        return test[:, 0]

    def _points(self, x: np.ndarray, marks: np.ndarray, wrong: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Rows [P, D] and their marks [P]; those of one kind, if `wrong` is said."""
        x = x[:, None] if x.ndim == 2 else x
        own = at_tokens(marks.reshape(len(marks), -1) > 0, x.shape[1], np.any).ravel()
        rows = x.reshape(-1, x.shape[-1])
        return (rows, own) if wrong is None else (rows[own == wrong], own[own == wrong])
