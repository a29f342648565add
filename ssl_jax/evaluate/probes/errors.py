"""What the linear head gets wrong, and how sure it is: confusion, F1, AUC, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ssl_jax.evaluate.calibration import BINS, auc, brier, ece, nll, softmax
from ssl_jax.evaluate.confusion import class_accuracy, confusion, f1, mean, plain
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.intervals import interval
from ssl_jax.evaluate.probes.linear import head_logits


@dataclass(frozen=True)
class Probe:
    """The head of the probe `linear`, as it is: no temperature is fitted to its probabilities."""

    seed: int = 0

    columns: ClassVar = (
        {"title": "macro F1", "value": "macro_f1", "unit": "percent"},
        {"title": "ECE", "value": "ece", "unit": "percent", "better": "lower"},
    )
    protocol: ClassVar = (
        f"errors: the linear head; F1 as a mean over classes, ECE in {BINS} bins of its largest probability"
    )

    def run(self, split: Split) -> dict[str, Any]:
        """`macro_f1` with its `interval`, `macro_accuracy`, one-against-rest `auc`; `ece`, `nll` (nats), `brier`; the
        `confusion` matrix (rows: labels) and `class_accuracy`, with the `classes` by name where they have one."""
        y = split.test.labels
        logits, choice = head_logits(split, seed=self.seed)
        p = softmax(logits)
        predicted = logits.argmax(-1)
        macro = lambda rows: mean(f1(confusion(predicted[rows], y[rows], split.classes)))  # noqa: E731
        counts = confusion(predicted, y, split.classes)
        each = class_accuracy(counts)
        return {
            "macro_f1": mean(f1(counts)),
            "interval": interval(macro, len(y), self.seed),
            "macro_accuracy": mean(each),
            "auc": auc(p, y),
            "ece": ece(p, y),
            "nll": nll(p, y),
            "brier": brier(p, y),
            "confusion": counts.tolist(),
            "class_accuracy": plain(each),
            "classes": list(split.names),
            "n_test": len(y),
            "note": choice.note,
            "records": {"correct": predicted == y, "predicted": predicted, "probability": p.max(axis=1)},
        }
