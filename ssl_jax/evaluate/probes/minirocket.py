"""MiniRocket: what a strong classifier of series that learns no network makes of the records. It looks at no encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.features import Features, Split, standardise
from ssl_jax.evaluate.ridge import ridge_classes


@dataclass(frozen=True)
class Probe:
    """Shares of positive values after 10,000 fixed convolutions, and ridge regression on one-hot targets (Dempster, Schmidt, Webb
    2021, arXiv 2012.08791), by aeon's MiniRocket: `pip install ssl_jax[series]`.

    It sees the field `series` [T, C] of the records, 0 where a value is missing; so it says the same in every row.
    """

    kernels: int = 10_000
    seed: int = 0

    fields: ClassVar = ("series",)
    columns: ClassVar = ({"title": "MiniRocket", "value": "accuracy", "unit": "percent"},)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return f"MiniRocket: {self.kernels} fixed convolutions of the records themselves, ridge regression by leave-one-out error"

    def run(self, split: Split) -> dict[str, Any]:
        """Test `accuracy` with `interval` and `chance`."""
        x, held = self._transformed(split.train, split.test)
        predicted = ridge_classes(x, split.train.labels, held)
        return accuracy(predicted, split.test.labels, self.seed) | {"n_train": len(split.train.x)}

    def _transformed(self, train: Features, test: Features) -> tuple[np.ndarray, ...]:
        series = [np.swapaxes(part.fields["series"], 1, 2).astype(np.float32) for part in (train, test)]
        try:
            from aeon.transformations.collection.convolution_based import MiniRocket
        except ImportError as error:
            raise UserError(
                f"minirocket needs aeon, which cannot be imported ({error}): pip install ssl_jax[series]"
            ) from error
        if series[0].shape[2] < 9:
            raise UserError(f"minirocket: kernels have 9 steps, and records {series[0].shape[2]}; leave the probe out")
        transform = MiniRocket(n_kernels=self.kernels, random_state=self.seed).fit(series[0])
        return standardise(*(np.asarray(transform.transform(x), np.float32) for x in series))
