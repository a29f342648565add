"""Regression probe: how much of a state of numbers can be read linearly off frozen features (CURL's setting)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Split, standardise
from ssl_jax.evaluate.ridge import STRENGTHS, ridge


@dataclass(frozen=True)
class Probe:
    """Ridge regression of the records' field `evaluate.target` on standardised features.

    R^2 of a number is 1 minus its squared error over its variance on the test split, averaged over the numbers: 1 for
    perfect predictions, 0 for always predicting the mean, negative for worse.
    """

    strengths: Sequence[float] = STRENGTHS

    chosen: ClassVar = ("strength",)
    columns: ClassVar = ({"title": "R^2", "value": "r2", "unit": "number"},)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return (
            f"R^2: ridge regression of the state on standardised features, penalty of {len(self.strengths)} by leave-one-out "
            "error on train"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """Test `r2`, that of `each` number, `mae` (mean absolute error, in the numbers' units) and `spearman` (rank correlation;
        0 for a constant) as means over the numbers, the chosen `strength`, and `n_train`.

        Raises UserError where the records have no such field.
        """
        train, test = split.train.target, split.test.target
        if train is None or test is None:
            raise UserError(
                "the probe regression needs numbers to predict; set evaluate.target to a field of the records "
                "(Pendulum: state)"
            )
        x, held = standardise(split.train.x, split.test.x)
        predicted, strength = ridge(x, train.astype(np.float64), held, self.strengths)
        error, variance = np.square(predicted - test).mean(axis=0), test.astype(np.float64).var(axis=0)
        each = 1 - error / np.maximum(variance, 1e-12)
        return {
            "r2": float(each.mean()),
            "each": [float(r) for r in each],
            "mae": float(np.abs(predicted - test).mean()),
            "spearman": float(np.mean([rank_correlation(*pair) for pair in zip(predicted.T, test.T, strict=True)])),
            "strength": strength,
            "n_train": len(x),
        }


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, of [N] and [N]; 0 where one is constant."""
    from scipy.stats import spearmanr

    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)
