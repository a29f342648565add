"""What a pretrained encoder is compared with: raw inputs, random weights, and supervised training on the same labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from ssl_jax.data.pipeline import once
from ssl_jax.evaluate.features import Split, check_finite, extract, raw_inputs
from ssl_jax.objectives.base import Encoder

# fit(source, examples, seed): an encoder trained from scratch with the labels of `source`, and its variables.
Fit = Callable[[Any, int, int], tuple[Encoder, dict]]


@dataclass(frozen=True, eq=False)
class Rows:
    """The records `ids` [n] of a source, as a source: the labelled records of one draw."""

    source: Any
    ids: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(getattr(self.source, "classes", ())))
        if hasattr(self.source, "batch"):
            object.__setattr__(self, "batch", lambda rows: self.source.batch(self.ids[rows]))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.source[int(self.ids[index])]

    def fingerprint(self) -> str:
        """That of the source, and which records."""
        return f"{self.source.fingerprint()}[{','.join(str(i) for i in self.ids)}]"


def random_variables(encoder: Encoder, source: Any, seed: int) -> dict:
    """Freshly initialised variables of `encoder`: the same architecture, layer and pooling without any training.

    `source` gives the shapes. BatchNorm has its initial statistics, mean 0 and variance 1.
    """
    batch, _ = next(once(source, 1))
    inputs = encoder.preprocess({k: v for k, v in batch.items() if not k.startswith("_")})
    init = jax.jit(partial(encoder.module.init, method="features"))
    return init(jax.random.key(seed), *(inputs[name] for name in encoder.inputs))


def raw_split(encoder: Encoder, train: Any, test: Any, classes: int, **options: Any) -> Split:
    """The encoder's own inputs as features."""
    features = (raw_inputs(encoder.preprocess, s, inputs=encoder.inputs, **options) for s in (train, test))
    return Split(*features, classes)


def encoded_split(encoder: Encoder, variables: dict, train: Any, test: Any, classes: int, **options: Any) -> Split:
    """Frozen features of both sources.

    Raises:
      UserError: the features are not finite.
    """
    features = [extract(encoder, variables, s, **options) for s in (train, test)]
    for part in features:
        check_finite(part)
    return Split(*features, classes)


def supervised_split(
    fit: Fit, train: Any, test: Any, classes: int, examples: int, few_examples: int, seed: int, **options: Any
) -> Split:
    """Features of an encoder trained from scratch on the labels of `train`, for `examples` examples.

    Few-label probes get one encoder for each draw, trained on the drawn labels only, for `few_examples`.
    """

    def learn(rows: np.ndarray) -> Split:
        drawn = Rows(train, np.asarray(rows))
        return encoded_split(*fit(drawn, few_examples, seed), drawn, test, classes, **options)

    whole = encoded_split(*fit(train, examples, seed), train, test, classes, **options)
    return Split(whole.train, whole.test, classes, learn)
