"""MLP probe: what a small network without the encoder can still make of the features (HEAR's protocol)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.batches import standardised
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.heads import CLASSES, MLP
from ssl_jax.evaluate.lanes import Training, adamw, grid
from ssl_jax.evaluate.selection import Candidate, selected
from ssl_jax.evaluate.splits import held_out


@dataclass(frozen=True)
class Probe:
    """One or two hidden layers of `hidden` units on standardised features, by AdamW; depth, rate and decay on a slice of train.

    Fidelity: HEAR (Turian et al. 2022) has dropout 0.1 and stops at the best of up to 500 epochs; here the rate falls along a
    cosine over `epochs`.
    """

    hidden: int = 1024
    depths: Sequence[int] = (1, 2)
    rates: Sequence[float] = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
    decays: Sequence[float] = (1e-4,)
    epochs: int = 30
    batch_size: int = 256
    held_out: float = 0.1
    seed: int = 0

    chosen: ClassVar = ("depth", "rate", "decay", "held_out")
    columns: ClassVar = ({"title": "MLP", "value": "accuracy", "unit": "percent"},)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        depths = " or ".join(str(n) for n in self.depths)
        return (
            f"MLP: {depths} hidden layers of {self.hidden} on standardised features, AdamW, {self.epochs} epochs of batches of "
            f"{self.batch_size}, {len(self.rates)} rates x {len(self.decays)} decays by accuracy on {100 * self.held_out:g} % of "
            "train held out, refitted on all of train"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """Test `accuracy` with `interval` and `chance`; the chosen `depth`, `rate` and `decay`, the `held_out` curve, counts."""
        train, test = split.train.x, split.test.x
        norm = standardised(train)
        heads = {depth: MLP(train.shape[1], (self.hidden,) * depth, split.classes) for depth in self.depths}
        candidates = [Candidate(f"{depth} hidden", train, test, norm, head) for depth, head in heads.items()]
        held = held_out(split.train.labels, self.held_out, self.seed)
        training = Training(adamw, self.epochs, self.batch_size, 0, self.seed)
        choice = selected(candidates, CLASSES, split.train.labels, held, grid(self.rates, self.decays), training)
        predicted = choice.outputs.argmax(-1)
        counts = {"n_train": len(held), "n_held_out": int(held.sum())}
        records = {"correct": predicted == split.test.labels, "predicted": predicted}
        return accuracy(predicted, split.test.labels, self.seed) | counts | choice.told("depth") | {"records": records}
