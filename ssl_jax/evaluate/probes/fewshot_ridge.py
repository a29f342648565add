"""Few labels by ridge regression in closed form, as big_vision's few-shot evaluator has it: nothing is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ssl_jax.evaluate.draws import over_draws
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.ridge import least_squares_classes
from ssl_jax.evaluate.splits import digest, draw


@dataclass(frozen=True)
class Probe:
    """Ridge regression on `shots` labels of each class with the penalty `l2`; mean and std of test accuracy over `draws`.

    The draws are functions of `seed`, and those of the probe `fewshot`; their hashes are in the result.

    Fidelity: float64, and draws of ours; big_vision draws by another generator.
    """

    shots: Sequence[int] = (1, 5, 10, 25)
    draws: int = 3
    l2: float = 1024.0
    seed: int = 0

    chosen: ClassVar = ("labels",)

    @property
    def columns(self) -> tuple[dict[str, str], ...]:
        """One column for each number of shots, most labels first."""
        return tuple(
            {"title": f"{n}-shot", "value": f"accuracy_{n}", "spread": f"std_{n}", "unit": "percent"}
            for n in sorted(self.shots, reverse=True)
        )

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        shots = ", ".join(str(n) for n in sorted(self.shots, reverse=True))
        return f"{shots} shots: ridge regression, l2={self.l2:g}, mean ± std of {self.draws} draws"

    def run(self, split: Split) -> dict[str, Any]:
        """`accuracy_<shots>` and `std_<shots>` over draws, and each draw's accuracy and hash of its labels."""
        return {"n_test": len(split.test.x)} | over_draws(self.shots, self.draws, partial(self._draw, split))

    def _draw(self, split: Split, shots: int, number: int) -> dict[str, Any]:
        rows = draw(split.train.labels, shots, self.seed, number)
        few = split.subset(rows)
        found = least_squares_classes(few.train.x, few.train.labels, few.test.x, few.classes, self.l2)
        return {
            "accuracy": float(np.mean(found.argmax(-1) == few.test.labels)),
            "labels": digest(split.train.ids[rows]),
        }
