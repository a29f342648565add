"""How two modalities lie in their space: are partners near, does each fill it, and are they apart from one another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.intervals import interval_of_mean
from ssl_jax.evaluate.sphere import uniformity


@dataclass(frozen=True)
class Probe:
    """Unit vectors of the test records by two `encoders`.

    The gap is the distance between the means of both (Liang et al. 2022, arXiv 2203.02053, section 2); alignment and uniformity
    are those of Wang and Isola 2020 (arXiv 2005.10242, eq. 1 and 2), partners in the place of views.
    """

    encoders: Sequence[str] = ("image_embedding", "text_embedding")

    labelled: ClassVar = False
    columns: ClassVar = (
        {"title": "alignment", "value": "alignment", "unit": "number", "better": "lower"},
        {"title": "modality gap", "value": "gap", "unit": "number", "better": "lower"},
    )
    protocol: ClassVar = (
        "gap: distance between the means of unit vectors of two encoders; alignment: mean squared distance of partners"
    )

    def run(self, split: Split) -> dict[str, Any]:
        """`alignment` with `interval`, that of `strangers`, `gap`, and the uniformity of each encoder."""
        rows = {name: _unit(split.towers[name].test.x) for name in self.encoders}
        u, v = rows.values()
        if u.shape != v.shape:
            raise UserError(
                f"gap: the encoders give {u.shape[1]} and {v.shape[1]} numbers; name those of the shared space"
            )
        near = np.square(u - v).sum(axis=1)
        return {
            "alignment": float(near.mean()),
            "interval": interval_of_mean(near),
            "strangers": float(np.square(u - np.roll(v, 1, axis=0)).sum(axis=1).mean()),
            "gap": float(np.linalg.norm(u.mean(axis=0) - v.mean(axis=0))),
            **{f"uniformity_{name}": uniformity(x) for name, x in rows.items()},
            "n_test": len(u),
        }


def _unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
