"""Sequence heads: a linear head on every frame or token, for labels that change along a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.confusion import IGNORED, confusion, f1, mean
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes.linear import head_logits
from ssl_jax.evaluate.readings import Reading

TOKENS = Reading("tokens")


@dataclass(frozen=True)
class Probe:
    """The linear head of `linear` on tokens [N, T, D], with the labels [N, L] of the field `labels`; -1 is no label.

    L is T, or a multiple: a token then has the label that most of its frames have. At most `rows` labelled tokens of train are
    fitted, drawn by `seed`. Tokens of one record fall into the held-out slice and outside of it alike.
    """

    labels: str = "labels"
    rows: int = 50_000
    seed: int = 0

    labelled: ClassVar = False
    needs: ClassVar = (TOKENS,)
    columns: ClassVar = (
        {"title": "frames", "value": "accuracy", "unit": "percent"},
        {"title": "frame F1", "value": "macro_f1", "unit": "percent"},
    )

    @property
    def fields(self) -> tuple[str, ...]:
        """The field that has a label for each frame."""
        return (self.labels,)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return f"frames: logistic regression on every token, at most {self.rows} of train, C as in the linear probe"

    def run(self, split: Split) -> dict[str, Any]:
        """Accuracy over labelled test tokens with `interval`, which takes tokens as independent, and `macro_f1`."""
        seen = split.readings[TOKENS]
        train, test = (labelled_tokens(part, self.labels) for part in (seen.train, seen.test))
        if not len(train.x) or not len(test.x):
            raise UserError(f"frames: no token has a label in {self.labels!r}; -1 is none")
        train = train.take(np.random.default_rng(self.seed).permutation(len(train.x))[: self.rows])
        classes = int(max(train.labels.max(), test.labels.max())) + 1
        logits, choice = head_logits(Split(train, test, classes), seed=self.seed)
        predicted = logits.argmax(-1)
        counts = confusion(predicted, test.labels, classes)
        return accuracy(predicted, test.labels, self.seed) | {
            "macro_f1": mean(f1(counts)),
            "C": choice.strength,
            "n_train": len(train.x),
            "note": choice.note,
        }


def labelled_tokens(features: Features, field: str) -> Features:
    """Every token that has a label in the `field` [N, L], as a row of its own."""
    y = at_tokens(features.fields[field], features.x.shape[1], most_frequent).reshape(-1)
    told = np.flatnonzero(y != IGNORED)
    rows = features.x.reshape(-1, features.x.shape[-1])[told]
    return Features(rows, y[told].astype(np.int32), told)


def at_tokens(values: np.ndarray, tokens: int, pooled: Callable[..., np.ndarray]) -> np.ndarray:
    """Values [N, L] of frames as one for each of the `tokens` [N, T], `pooled(values, axis=-1)` over the frames of a token.

    Raises:
      UserError: L is no multiple of T.
    """
    if values.ndim != 2 or values.shape[1] % tokens:
        raise UserError(
            f"the records have values of shape {list(values.shape[1:])} and the encoder {tokens} tokens; a multiple is needed, "
            "so that each token has its frames"
        )
    return pooled(values.reshape(len(values), tokens, -1), axis=-1)


def most_frequent(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The most frequent integer along the last axis of values [..., L] (the least of several)."""
    if values.shape[axis] == 1:
        return values[..., 0]
    found = np.unique(values)
    return found[np.stack([(values == v).sum(axis=axis) for v in found], axis=-1).argmax(axis=-1)]
