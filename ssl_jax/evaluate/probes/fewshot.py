"""Few labels: the linear probe on `shots` labels per class, over several draws of which labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ssl_jax.evaluate.draws import over_draws
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.probes.linear import STRENGTHS, fit_and_predict
from ssl_jax.evaluate.splits import digest, draw, folds


@dataclass(frozen=True)
class Probe:
    """Logistic regression on `shots` labels of each class, mean and std of the test accuracy over `draws` of the labels.

    Inside a draw `C` is chosen by stratified cross-validation on the drawn labels alone. The draws are functions of
    `seed`, so every encoder gets the same labels; their hashes are in the result.
    """

    shots: Sequence[int] = (10, 100)
    draws: int = 3
    strengths: Sequence[float] = STRENGTHS
    folds: int = 5
    seed: int = 0

    chosen: ClassVar = ("C", "labels")

    @property
    def columns(self) -> tuple[dict[str, str], ...]:
        """One column for each number of shots, most labels first."""
        return tuple(
            {"title": f"{n}/class", "value": f"accuracy_{n}", "spread": f"std_{n}", "unit": "percent"}
            for n in sorted(self.shots, reverse=True)
        )

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        shots = " and ".join(str(n) for n in sorted(self.shots, reverse=True))
        return (
            f"{shots} labels per class: the same, C by loss in {self.folds}-fold cross-validation on the drawn labels, "
            f"mean ± std of {self.draws} draws"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """`accuracy_<shots>` and `std_<shots>` over draws, and each draw's accuracy, `C`, note and hash of its labels."""
        return {"n_test": len(split.test.x)} | over_draws(self.shots, self.draws, partial(self._draw, split))

    def _draw(self, split: Split, shots: int, number: int) -> dict[str, Any]:
        rows = draw(split.train.labels, shots, self.seed, number)
        few = split.subset(rows)
        count = min(self.folds, shots)
        fold = folds(few.train.labels, count, self.seed)
        held = fold[None] == np.arange(count)[:, None] if count > 1 else np.zeros((0, len(rows)), bool)
        predicted, choice = fit_and_predict(few, held, self.strengths)
        return {
            "accuracy": float(np.mean(predicted == split.test.labels)),
            "C": choice.strength,
            "labels": digest(split.train.ids[rows]),
            "note": choice.note,
        }
