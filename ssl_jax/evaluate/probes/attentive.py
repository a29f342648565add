"""Attentive probe: a learnt query looks at all patch tokens, or frames, before the linear layer (V-JEPA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ssl_jax.errors import UserError
from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.batches import unchanged
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.heads import CLASSES, Attentive
from ssl_jax.evaluate.lanes import Training, adamw, grid
from ssl_jax.evaluate.readings import Reading
from ssl_jax.evaluate.selection import Candidate, selected
from ssl_jax.evaluate.splits import held_out

TOKENS = Reading("tokens")


@dataclass(frozen=True)
class Probe:
    """Cross-attention from one learnt query, an MLP block and a linear layer, by AdamW; rate and decay on a slice of train.

    `heads` of attention have to divide the width of the tokens. Rates are for a batch of 256 and grow with `batch_size`.
    """

    rates: Sequence[float] = (3e-4, 1e-3, 3e-3)
    decays: Sequence[float] = (1e-3, 0.1)
    heads: int = 4
    epochs: int = 20
    batch_size: int = 256
    held_out: float = 0.1
    seed: int = 0

    tokens: ClassVar = True
    needs: ClassVar = (TOKENS,)
    chosen: ClassVar = ("rate", "decay", "held_out")
    columns: ClassVar = ({"title": "attentive", "value": "accuracy", "unit": "percent"},)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return (
            f"attentive: one query of {self.heads} heads over patch tokens, AdamW, {self.epochs} epochs of batches of "
            f"{self.batch_size}, {len(self.rates)} rates x {len(self.decays)} decays by accuracy on {100 * self.held_out:g} % of "
            "train held out, refitted on all of train"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """Test `accuracy` with `interval` and `chance`; the chosen `rate` and `decay`, the `held_out` curve, and counts."""
        seen = split.readings.get(TOKENS, split)
        width = seen.train.x.shape[-1]
        if width % self.heads:
            raise UserError(
                f"tokens of {width} numbers and heads={self.heads}: use a number of heads that divides {width}"
            )
        head = Attentive(width, self.heads, split.classes)
        held = held_out(split.train.labels, self.held_out, self.seed)
        choice = selected(
            [Candidate("tokens", seen.train.x, seen.test.x, unchanged(seen.train.x), head)],
            CLASSES, split.train.labels, held, grid(self.rates, self.decays),
            Training(adamw, self.epochs, self.batch_size, 0, self.seed),
        )  # fmt: skip
        predicted = choice.outputs.argmax(-1)
        counts = {"n_train": len(held), "n_held_out": int(held.sum()), "n_tokens": seen.train.x.shape[1]}
        records = {"correct": predicted == split.test.labels, "predicted": predicted}
        return (
            accuracy(predicted, split.test.labels, self.seed) | counts | choice.told("reading") | {"records": records}
        )
