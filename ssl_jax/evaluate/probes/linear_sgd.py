"""Linear probe by SGD, as DINOv2 and MAE publish it: learning rates, decays, layers and poolings at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ssl_jax.errors import UserError
from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.batches import NORMS, Beside
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.heads import CLASSES, Linear
from ssl_jax.evaluate.lanes import RULES, Training, grid
from ssl_jax.evaluate.readings import OWN, Reading, reading_named
from ssl_jax.evaluate.selection import Candidate, selected
from ssl_jax.evaluate.splits import held_out

RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)  # DINOv2's, for a batch of 256


@dataclass(frozen=True)
class Probe:
    """A linear head learnt by SGD for each rate, decay and entry of `readings`; the best on a slice of train is tested once.

    An entry of `readings` is what stands side by side in a row: "own", "class", "class+mean", "class@-2+class@-1+mean". Where
    an encoder has none of them (raw input has no layers) its own features are taken. `norm`: "none" (DINOv2), "batch" (MAE:
    BatchNorm without scale and bias) or "train" (the moments of train). `optimizer`: "sgd", "lars" (MAE) or "adamw". Rates are
    for a batch of 256 and grow with `batch_size`. `steps` takes the place of `epochs` where it is given.

    Fidelity: DINOv2 reports the best of its heads by accuracy on the set that it reports; here a slice of train chooses. No
    crops and flips: features are computed once.
    """

    rates: Sequence[float] = RATES
    decays: Sequence[float] = (0.0,)
    readings: Sequence[str] = ("own",)
    norm: str = "none"
    optimizer: str = "sgd"
    epochs: int = 10
    steps: int | None = None
    warmup_epochs: int = 0
    batch_size: int = 256
    held_out: float = 0.1
    seed: int = 0

    chosen: ClassVar = ("reading", "rate", "decay", "held_out")
    columns: ClassVar = ({"title": "linear (SGD)", "value": "accuracy", "unit": "percent"},)

    def __post_init__(self) -> None:
        one_of("norm", self.norm, NORMS)
        one_of("optimizer", self.optimizer, RULES)
        _ = self.needs

    @property
    def needs(self) -> tuple[Reading, ...]:
        """Every reading of an entry, and the encoder's own."""
        return tuple(dict.fromkeys((OWN, *(part for entry in self.readings for part in parts_of(entry)))))

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        long = f"{self.epochs} epochs" if self.steps is None else f"{self.steps} steps"
        grid = f"{len(self.rates)} learning rates x {len(self.decays)} decays x {len(self.readings)} readings"
        return (
            f"linear (SGD): {self.optimizer}, {long} of batches of {self.batch_size}, cosine, norm {self.norm}, "
            f"{grid} by accuracy on {100 * self.held_out:g} % of train held out, refitted on all of train"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """Test `accuracy` with `interval` and `chance`; the chosen `reading`, `rate`, `decay`; the `held_out` curve; counts."""
        held = held_out(split.train.labels, self.held_out, self.seed)
        training = Training(
            RULES[self.optimizer], self.epochs, self.batch_size, self.warmup_epochs, self.seed, self.steps
        )
        lanes = grid(self.rates, self.decays)
        choice = selected(self.candidates(split), CLASSES, split.train.labels, held, lanes, training)
        predicted = choice.outputs.argmax(-1)
        counts = {"n_train": len(held), "n_held_out": int(held.sum()), "heads": len(choice.held_out)}
        records = {"correct": predicted == split.test.labels, "predicted": predicted}
        return (
            accuracy(predicted, split.test.labels, self.seed) | counts | choice.told("reading") | {"records": records}
        )

    def candidates(self, split: Split) -> list[Candidate]:
        """One for each entry of `readings` that the encoder has."""
        there = [entry for entry in self.readings if all(_has(split, part) for part in parts_of(entry))]
        return [self._candidate(split, entry) for entry in there or ["own"]]

    def _candidate(self, split: Split, entry: str) -> Candidate:
        splits = [_read(split, part) for part in parts_of(entry)]
        train, test = (Beside(tuple(getattr(s, part).x for s in splits)) for part in ("train", "test"))
        width = sum(s.train.x.shape[-1] for s in splits)
        return Candidate(entry, train, test, NORMS[self.norm](train), Linear(width, split.classes))


def parts_of(entry: str) -> tuple[Reading, ...]:
    """The readings that stand side by side; UserError for what is none."""
    return tuple(reading_named(part.strip()) for part in entry.split("+"))


def one_of(option: str, value: str, known: Any) -> None:
    """UserError for a value that is not known."""
    if value not in known:
        raise UserError(f"{option}={value!r} is unknown; use one of {', '.join(known)}")


def _has(split: Split, reading: Reading) -> bool:
    return reading == OWN or reading in split.readings


def _read(split: Split, reading: Reading) -> Split:
    return split if reading == OWN else split.readings[reading]
