"""Linear segmentation: can the class of every pixel be read off the patch tokens?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ssl_jax.evaluate.confusion import IGNORED, confusion, iou, mean, plain
from ssl_jax.evaluate.dense import RATES, halves, maps_of, predicted, standardised, trained
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.intervals import interval
from ssl_jax.evaluate.readings import Reading

TOKENS = Reading("tokens")


@dataclass(frozen=True)
class Probe:
    """A linear head on standardised patch tokens, its logits resized to the label map, cross-entropy at every pixel.

    Maps are the field `maps` of the records, [H, W] integers; -1 counts nowhere. After DINOv3's linear segmentation, without
    crops, flips, dropout and sliding windows: records are seen whole. The learning rate is chosen by loss on `held_out` of the
    train records.
    """

    maps: str = "segments"
    rates: Sequence[float] = RATES
    steps: int = 400
    batch: int = 16
    held_out: float = 0.2
    seed: int = 0

    labelled: ClassVar = False
    needs: ClassVar = (TOKENS,)
    columns: ClassVar = ({"title": "mIoU", "value": "miou", "unit": "percent"},)

    @property
    def fields(self) -> tuple[str, ...]:
        """The field with the label maps."""
        return (self.maps,)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return (
            f"segmentation: linear head on patch tokens, logits resized to the map, {self.steps} steps of {self.batch} records, "
            f"learning rate of {len(self.rates)} by loss on {100 * self.held_out:g} % of train held out"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """`miou` over the classes that occur in test with its `interval` over records, `iou` of each, `pixel_accuracy`,
        the chosen `rate`, the held-out curve, `most_frequent` (the share of pixels of that class)."""
        seen = split.readings[TOKENS]
        x, test = standardised(np.asarray(seen.train.x), np.asarray(seen.test.x))
        given, asked = (part.fields[self.maps] for part in (seen.train, seen.test))
        classes = int(max(given.max(), asked.max())) + 1
        fit, choose = halves(len(x), self.held_out, self.seed)
        data = maps_of(x, given.astype(np.int32), seen.train.grid, self.maps)
        found = trained(
            data.take(fit),
            data.take(choose),
            cross_entropy,
            classes,
            self.rates,
            self.steps,
            self.batch,
            seed=self.seed,
        )
        held = data._replace(tokens=test, maps=asked.astype(np.int32))
        found_maps = ((np.asarray(out.argmax(-1)), maps) for out, maps in predicted(found.head, held, self.batch))
        each = np.stack([confusion(p, t, classes) for out, maps in found_maps for p, t in zip(out, maps, strict=True)])
        around = interval(lambda rows: measures(each[rows].sum(axis=0))["miou"], len(each), self.seed)
        chosen = {"rate": found.rate, "held_out": found.curve, "n_train": len(x), "n_test": len(test)}
        return measures(each.sum(axis=0)) | {"interval": around} | chosen


def measures(counts: np.ndarray) -> dict[str, Any]:
    """`miou`, `iou`, `pixel_accuracy` and `most_frequent` of a confusion matrix of pixels."""
    each = np.where(counts.sum(axis=1) > 0, iou(counts), np.nan)
    return {
        "miou": mean(each),
        "iou": plain(each),
        "pixel_accuracy": float(np.trace(counts) / counts.sum()),
        "most_frequent": float(counts.sum(axis=1).max() / counts.sum()),
    }


def cross_entropy(logits: Array, maps: Array) -> Array:
    """Mean over the pixels that have a label, of logits [B, H, W, K] and maps [B, H, W]."""
    told = maps != IGNORED
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(told, maps, 0))
    return jnp.sum(loss * told) / jnp.maximum(told.sum(), 1)
