"""Missing values: how much of the linear head's accuracy is left when a part of every test series is gone?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.probes.linear import head_logits
from ssl_jax.objectives.base import Batch


@dataclass(frozen=True)
class Probe:
    """The head of `linear`, trained on features of whole series, on test series [T, C] of which each stretch of `stretch` steps
    of a channel is missing with each of the chances `shares`: `series` is 0 and `valid` False there.

    What goes is a function of `seed`, share and the record's place.
    """

    shares: Sequence[float] = (0.1, 0.3, 0.5)
    stretch: int = 8
    seed: int = 0

    columns: ClassVar = ({"title": "with values missing", "value": "accuracy", "unit": "percent"},)

    def __post_init__(self) -> None:
        if not self.shares or not all(0 <= share < 1 for share in self.shares) or self.stretch < 1:
            raise UserError(
                f"missing: shares={tuple(self.shares)}, stretch={self.stretch}; use chances below 1, and whole steps"
            )

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        told = ", ".join(f"{100 * share:g} %" for share in self.shares)
        return (
            f"missing: the head of whole series, mean accuracy with {told} of values gone, {self.stretch} steps at once"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """Mean `accuracy` over the shares beside the `clean` one, and that of `each` share."""
        if split.again is None:
            raise UserError("missing: these features were made by no encoder, so there are none of changed records")
        parts = [split.test, *(split.again(partial(self._changed, i, share)) for i, share in enumerate(self.shares))]
        together = split.test._replace(x=np.concatenate([part.x for part in parts]), fields={})
        logits, choice = head_logits(replace(split, test=together), seed=self.seed)
        right = logits.argmax(-1).reshape(len(parts), -1) == split.test.labels
        clean = accuracy(logits[: len(split.test.x)].argmax(-1), split.test.labels, self.seed)
        return {
            "accuracy": float(right[1:].mean()),
            "clean": clean["accuracy"],
            "chance": clean["chance"],
            "each": {f"{share:g}": float(r) for share, r in zip(self.shares, right[1:].mean(axis=1), strict=True)},
            "n_test": len(split.test.x),
            "C": choice.strength,
            "note": choice.note,
            "records": {"correct": right[1:].mean(axis=0)},
        }

    def _changed(self, number: int, share: float, batch: Batch) -> Batch:
        if "valid" not in batch or batch["series"].shape != batch["valid"].shape:
            raise UserError(
                f"missing: it needs the fields 'series' and 'valid'; records have {', '.join(sorted(batch))}"
            )
        series, valid = thinned(
            batch["series"], batch["valid"], batch["_id"], self.stretch, share, self.seed * 16 + number
        )
        return dict(batch) | {"series": series, "valid": valid}


@partial(jax.jit, static_argnums=3)
def thinned(series: Any, valid: Any, ids: Any, stretch: int, share: float, seed: int) -> tuple[Any, Any]:
    """Series and valid [B, T, C] without stretches of `stretch` steps, each gone with the chance `share`."""
    steps, channels = series.shape[1:]
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(ids.astype(jnp.uint32))
    kept = jax.vmap(lambda key: jax.random.uniform(key, (-(-steps // stretch), channels)) >= share)(keys)
    valid = valid.astype(bool) & jnp.repeat(kept, stretch, axis=1)[:, :steps]
    return jnp.where(valid, series, 0), valid
