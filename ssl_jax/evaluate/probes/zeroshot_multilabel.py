"""Zero-shot for several labels at once: are records nearest to the sentences of the labels that they have?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.intervals import interval
from ssl_jax.evaluate.probes.multilabel import auroc, marks_of, precision
from ssl_jax.evaluate.probes.zeroshot import vectors_of
from ssl_jax.evaluate.prompts import cosines, prompts_in, prompts_of

_RESAMPLES = 200


@dataclass(frozen=True)
class Probe:
    """As `zeroshot`, where the records' field `evaluate.target` is 0 or 1 for each label, named by `names`.

    Each label is a question of its own, as in SigLIP: sigmoid(scale x cosine + bias). Scale and bias are the same for all records
    and labels, so that no order depends on them, and mAP is that of the cosines.
    """

    names: Sequence[str] = ("first", "second")
    encoders: Sequence[str] = ("image_embedding",)
    reader: str = "text_embedding"
    templates: Sequence[str] = ("a photo of a {}.",)
    prompts: str = ""

    labelled: ClassVar = False
    columns: ClassVar = ({"title": "zero-shot mAP", "value": "map", "unit": "percent"},)

    @property
    def asks(self) -> tuple[str, ...]:
        """The encoder that reads the prompts."""
        return (self.reader,)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return f"zero-shot mAP: {len(self.names)} labels by {self.prompts or f'{len(self.templates)} templates'}, by cosine"

    def run(self, split: Split) -> dict[str, Any]:
        """Test `map` with `interval` and `chance`, `auroc`, and the average precision of `each` label that can be measured."""
        marks = marks_of(split.test)
        if len(self.names) != marks.shape[1]:
            raise UserError(
                f"zeroshot_multilabel.names has {len(self.names)} names, and evaluate.target {marks.shape[1]} labels"
            )
        prompts = (
            prompts_in(self.prompts, self.names) if self.prompts else prompts_of(self.names, tuple(self.templates))
        )
        scores = cosines(split.test.x, vectors_of(prompts, split, self.reader)["all"])
        both = np.asarray(marks.any(axis=0) & ~marks.all(axis=0))
        if not both.any():
            raise UserError(
                "zeroshot_multilabel: every label is the same for all test records; use a larger test split"
            )
        scores, marks = scores[:, both], marks[:, both]
        each = precision(scores, marks)
        return {
            "map": float(np.mean(each)),
            "interval": interval(lambda rows: _mean(scores[rows], marks[rows]), len(marks), 0, _RESAMPLES),
            "chance": float(marks.mean()),
            "auroc": auroc(scores, marks),
            "each": dict(zip(np.array(self.names)[both].tolist(), each, strict=True)),
            "n_test": len(marks),
        }


def _mean(scores: np.ndarray, marks: np.ndarray) -> float:
    there = marks.any(axis=0)
    return float(np.mean(precision(scores[:, there], marks[:, there])))
