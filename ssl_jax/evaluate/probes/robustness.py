"""Robustness: how much of the linear head's accuracy is left on corrupted pictures?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.data.image.corruptions.table import CORRUPTIONS, SEVERITIES
from ssl_jax.errors import UserError
from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.probes.linear import head_logits
from ssl_jax.evaluate.robustness import mean_accuracy, mean_corruption_error
from ssl_jax.objectives.base import Batch


@dataclass(frozen=True)
class Probe:
    """The head of `linear`, trained on clean features, on test pictures (field `field`, uint8 or [0, 1]) after each of the 15
    corruptions of ImageNet-C at each severity. What a picture becomes is a function of `seed`, corruption and its place.

    `baseline` is what the errors are relative to in `mce`: a mapping corruption -> errors by severity, {} or None for none; with
    `baseline_name`, whose they are. The original has AlexNet's; another run's are in its `eval/robustness.json`.
    """

    corruptions: Sequence[str] = tuple(CORRUPTIONS)
    severities: Sequence[int] = SEVERITIES
    baseline: Mapping[str, Sequence[float]] | None = None
    baseline_name: str = ""
    field: str = "image"
    seed: int = 0

    columns: ClassVar = ({"title": "corrupted", "value": "accuracy", "unit": "percent"},)

    def __post_init__(self) -> None:
        unknown = [name for name in self.corruptions if name not in CORRUPTIONS]
        if unknown or not set(self.severities) <= set(SEVERITIES) or not self.corruptions or not self.severities:
            raise UserError(
                f"robustness: corruptions={tuple(self.corruptions)}, severities={tuple(self.severities)}; use some of "
                f"{', '.join(CORRUPTIONS)}, and of 1 to 5"
            )
        lacking = [n for n in self.corruptions if len((self.baseline or {}).get(n, ())) != len(self.severities)]
        if self.baseline and lacking:
            raise UserError(f"robustness: baseline has no {len(self.severities)} errors of {', '.join(lacking)}")

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        beside = f", mCE relative to {self.baseline_name or 'the given errors'}" if self.baseline else ""
        return (
            f"corrupted: the linear head of clean features, mean accuracy over {len(self.corruptions)} corruptions of ImageNet-C "
            f"at severities {', '.join(map(str, self.severities))}{beside}"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """Mean `accuracy` over corruptions and severities beside the `clean` one; `errors` of each corruption by severity; `mce`
        where there is a baseline."""
        if split.again is None:
            raise UserError(
                "robustness: these features were made by no encoder, so there are none of corrupted records"
            )
        ways = [(name, severity) for name in self.corruptions for severity in self.severities]
        parts = [split.test, *(split.again(partial(self._changed, name, severity)) for name, severity in ways)]
        together = split.test._replace(x=np.concatenate([part.x for part in parts]), fields={})
        logits, choice = head_logits(replace(split, test=together), seed=self.seed)
        wrong = logits.argmax(-1).reshape(len(parts), -1) != split.test.labels
        found = wrong[1:].mean(axis=1).reshape(len(self.corruptions), -1)
        errors = {name: [float(e) for e in each] for name, each in zip(self.corruptions, found, strict=True)}
        clean = accuracy(logits[: len(split.test.x)].argmax(-1), split.test.labels, self.seed)
        relative = {"mce": mean_corruption_error(errors, self.baseline)} if self.baseline else {}
        return relative | {
            "accuracy": mean_accuracy(errors),
            "clean": clean["accuracy"],
            "chance": clean["chance"],
            "errors": errors,
            "n_test": len(split.test.x),
            "C": choice.strength,
            "note": choice.note,
            "records": {"correct": 1 - wrong[1:].mean(axis=0)},
        }

    def _changed(self, name: str, severity: int, batch: Batch) -> Batch:
        if self.field not in batch:
            raise UserError(f"robustness: the records have no {self.field!r}; they have {', '.join(sorted(batch))}")
        number = tuple(CORRUPTIONS).index(name)
        return dict(batch) | {
            self.field: changed(name, batch[self.field], batch["_id"], severity, self.seed * 16 + number)
        }


@partial(jax.jit, static_argnums=0)
def changed(name: str, images: Array, ids: Array, severity: Array, seed: Array) -> Array:
    """Pictures uint8 [B, H, W, C], or floats in [0, 1], after a corruption, in the type that they have."""
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(ids.astype(jnp.uint32))
    if images.dtype != jnp.uint8:
        return CORRUPTIONS[name](images, keys, severity).astype(images.dtype)
    made = CORRUPTIONS[name](images.astype(jnp.float32) / 255, keys, severity)
    return jnp.round(255 * jnp.clip(made, 0, 1)).astype(jnp.uint8)
