"""What a pretrained encoder is compared with: raw inputs, random weights, and supervised training on the same labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any

import jax
import numpy as np
from jax import Array

from ssl_jax.data.pipeline import once
from ssl_jax.evaluate.features import Split, extract, labelled_split, raw_inputs, unlabelled
from ssl_jax.objectives.base import Batch, Encoder

_CALIBRATION = 256  # records in a batch that BatchNorm statistics are taken from

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


def random_variables(encoder: Encoder, source: Any, seed: int, label: str = "label") -> dict:
    """Freshly initialised variables of `encoder`: the same architecture, layer and pooling without any training.

    BatchNorm gets the statistics of `source`, as a trained encoder has them: with the initial mean 0 and variance 1 the
    baseline would be weaker than it need be (by 0.3 to 0.5 points for a small convolutional encoder).
    """
    size = min(_CALIBRATION, len(source))
    inputs = _inputs(encoder, next(once(source, size))[0], label)
    variables = jax.jit(partial(encoder.module.init, method="features"))(jax.random.key(seed), *inputs)
    if "batch_stats" not in variables:
        return variables

    @jax.jit
    def settled(variables: dict, batch: Batch) -> dict:
        inputs = _inputs(encoder, batch, label)
        _, new = encoder.module.apply(variables, *inputs, train=True, method="features", mutable=["batch_stats"])
        return variables | new

    # Running averages forget a tenth in each batch: after 50, nothing is left of where they started.
    for batch, _ in islice(chain.from_iterable(once(source, size) for _ in range(50)), 50):
        variables = settled(variables, unlabelled(batch, label))
    return variables


def _inputs(encoder: Encoder, batch: Batch, label: str) -> list[Array]:
    fields = encoder.preprocess(unlabelled(batch, label))
    return [fields[name] for name in encoder.inputs]


def raw_split(encoder: Encoder, train: Any, test: Any, classes: int | None = None, **options: Any) -> Split:
    """What there is without the encoder, as features."""
    features = (raw_inputs(lambda batch: {"x": encoder.raw(batch)}, s, **options) for s in (train, test))
    return labelled_split(*features, classes)


def encoded_split(
    encoder: Encoder, variables: dict, train: Any, test: Any, classes: int | None = None, **options: Any
) -> Split:
    """Frozen features of both sources. `options` are those of `extract`."""
    return labelled_split(*(extract(encoder, variables, s, **options) for s in (train, test)), classes)


def random_split(
    encoder: Encoder, seed: int, train: Any, test: Any, classes: int | None = None, label: str = "label", **options: Any
) -> Split:
    """Features of the untrained encoder."""
    variables = random_variables(encoder, train, seed, label)
    return encoded_split(encoder, variables, train, test, classes, label=label, **options)


def supervised_split(
    fit: Fit,
    examples: int,
    few_examples: int,
    seed: int,
    train: Any,
    test: Any,
    classes: int | None = None,
    **options: Any,
) -> Split:
    """Features of an encoder trained from scratch on the labels of `train`, for `examples` examples.

    Few-label probes get one encoder for each draw, trained on the drawn labels only, for `few_examples`.
    """
    whole = encoded_split(*fit(train, examples, seed), train, test, classes, **options)

    def learn(rows: np.ndarray) -> Split:
        drawn = Rows(train, np.asarray(rows))
        return encoded_split(*fit(drawn, few_examples, seed), drawn, test, whole.classes, **options)

    return replace(whole, learn=learn)
