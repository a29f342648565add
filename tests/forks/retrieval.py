"""How often the nearest caption, by the features of one tower projected on those of the other, is that of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.evaluate.features import Split


@dataclass(frozen=True)
class Retrieval:
    """A linear map from pictures to captions, fitted on train; recall at 1 over the test captions, of which many are equal."""

    columns: ClassVar = ({"title": "retrieval", "value": "recall", "unit": "percent"},)
    protocol: ClassVar = (
        "retrieval: a least-squares map from pictures to captions, captions of the same features count as right"
    )
    encoders: ClassVar = ("image", "text")

    def run(self, split: Split) -> dict[str, Any]:
        """`recall` and the number of `candidates`."""
        image, text = (split.towers[name] for name in self.encoders)
        from_image = np.linalg.lstsq(image.train.x, text.train.x, rcond=None)[0]
        told, captions = image.test.x @ from_image, text.test.x
        nearest = ((told[:, None] - captions[None]) ** 2).sum(-1).argmin(1)
        right = np.isclose(captions[nearest], captions, atol=1e-5).all(1)
        return {"recall": float(right.mean()), "candidates": len(captions)}
