"""What a pretrained encoder is compared with: raw inputs, random weights, and supervised training on the same labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, islice
from typing import Any

import jax
import numpy as np
from jax import Array

from ssl_jax.data.pipeline import BadRecords, once
from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.evaluate.classes import class_names
from ssl_jax.evaluate.features import Change, Features, Split, hidden_fields, split_of, unlabelled
from ssl_jax.evaluate.prompts import read_by, records_of
from ssl_jax.evaluate.reader import PLAIN, Reader, Tolerance, Weights, strict
from ssl_jax.evaluate.readings import OWN
from ssl_jax.objectives.base import Batch, Encoder

_CALIBRATION = 256  # records in a batch that BatchNorm statistics are taken from

# fit(source, examples, seed): an encoder trained from scratch with the labels of `source`, and its variables.
Fit = Callable[[Any, int, int], tuple[Encoder, dict]]
Identity = Mapping[str, Any] | None  # what weights depend on beside how they are made here; None: nothing is kept


@dataclass(frozen=True, eq=False)
class Rows:
    """The records `ids` [n] of a source, as a source: the labelled records of one draw."""

    source: Any
    ids: np.ndarray

    def __post_init__(self) -> None:
        for known in ("classes", "labels"):
            if hasattr(self.source, known):
                object.__setattr__(self, known, getattr(self.source, known))
        if hasattr(self.source, "batch"):
            object.__setattr__(self, "batch", lambda rows: self.source.batch(self.ids[rows]))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.source[int(self.ids[index])]

    def name_of(self, index: int) -> str:
        """What the source calls the record."""
        inner = int(self.ids[index])
        return self.source.name_of(inner) if hasattr(self.source, "name_of") else str(inner)

    def fingerprint(self) -> str:
        """That of the source, and which records."""
        return f"{self.source.fingerprint()}[{','.join(str(i) for i in self.ids)}]"


class Lenient:
    """Up to `limit` of each source cannot be read; each is told once, however often it is read."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._known: dict[int, tuple[Any, BadRecords]] = {}

    def __call__(self, source: Any) -> BadRecords:
        """What counts those of `source`; the limit of a draw of records is that of what it is drawn from."""
        whole = source.source if isinstance(source, Rows) else source
        fresh = (source, BadRecords(self._limit, total=len(whole)))  # with the source, so that no other gets its id
        return self._known.setdefault(id(source), fresh)[1]


def random_variables(
    encoder: Encoder,
    source: Any,
    seed: int,
    label: str = "label",
    target: str | None = None,
    tolerance: Tolerance = strict,
) -> dict:
    """Freshly initialised variables of `encoder`: the same architecture, layer and pooling without any training.

    BatchNorm gets the statistics of `source`, as a trained encoder has them: with the initial mean 0 and variance 1 the
    baseline would be weaker than it need be (by 0.3 to 0.5 points for a small convolutional encoder).
    """
    size, hidden = min(_CALIBRATION, len(source)), hidden_fields(source, label, target)
    bad = tolerance(source)
    inputs = _inputs(encoder, unlabelled(next(once(source, size, bad))[0], *hidden))
    variables = jax.jit(partial(encoder.module.init, method=encoder.method))(jax.random.key(seed), *inputs)
    if "batch_stats" not in variables:
        return variables

    @jax.jit
    def settled(variables: dict, batch: Batch) -> dict:
        inputs = _inputs(encoder, batch)
        drawing: dict[str, Any] = {"rngs": {"noise": jax.random.key(seed)}, "mutable": ["batch_stats"]}
        _, new = encoder.module.apply(variables, *inputs, train=True, method=encoder.method, **drawing)
        return variables | dict(new)

    # Running averages forget a tenth in each batch: after 50, nothing is left of where they started.
    for batch, _ in islice(chain.from_iterable(once(source, size, bad) for _ in range(50)), 50):
        variables = settled(variables, unlabelled(batch, *hidden))
    return variables


def _inputs(encoder: Encoder, batch: Batch) -> list[Array]:
    fields = encoder.preprocess(batch)
    return [fields[name] for name in encoder.inputs]


def as_it_is(x: np.ndarray) -> np.ndarray:
    """What most raw numbers become: nothing else."""
    return x


def raw_split(encoder: Encoder, train: Any, test: Any, classes: int | None = None, reader: Reader = PLAIN) -> Split:
    """What there is without the encoder, as features."""
    trained, tested = (
        reader.raw(encoder, train, "raw input, probe split"),
        reader.raw(encoder, test, "raw input, test split"),
    )
    fit = as_it_is if encoder.fitted is None else encoder.fitted(trained.x)
    trained, tested = (part._replace(x=fit(part.x)) for part in (trained, tested))
    split = split_of(trained, tested, classes)
    again = lambda change: split.test._replace(x=fit(reader.raw(encoder, test, "raw input, changed", change).x))  # noqa: E731
    return replace(split, again=again, names=class_names(train, reader.label))


def encoded_splits(
    weights: Mapping[str, Weights],
    train: Any,
    test: Any,
    classes: int | None = None,
    reader: Reader = PLAIN,
    title: str = "features",
    asked: Mapping[str, Weights] | None = None,
) -> dict[str, Callable[[], Split]]:
    """Frozen features of both sources by each encoder, read once for all of them; each is looked at when it is called.

    Records that cannot be read are left out, as many as the `reader` allows. The encoders `asked` read sentences.
    """
    parts = (("probe", train), ("test", test))
    trained, tested = (reader.features(weights, source, f"{title}, {name} split") for name, source in parts)

    def split(name: str) -> Split:
        own = split_of(trained[name, OWN], tested[name, OWN], classes)
        readings = {r: _with(own, trained[n, r], tested[n, r]) for n, r in trained if n == name and (n, r) in tested}

        def again(change: Change) -> Features:
            return own.test._replace(x=reader.changed(weights[name], test, f"{title}, changed", change).x)

        read = {text: partial(_read, made) for text, made in (asked or {}).items()}
        return replace(own, readings=readings, again=again, names=class_names(train, reader.label), read=read)

    return {name: partial(split, name) for name in weights}


def _read(weights: Weights, texts: Sequence[str]) -> np.ndarray:
    return read_by(*weights.make(), texts)


def _with(split: Split, train: Features, test: Features) -> Split:
    """The split with other features of the same records."""
    trained, tested = (old._replace(x=new.x, grid=new.grid) for old, new in ((split.train, train), (split.test, test)))
    return replace(split, train=trained, test=tested)


def encoded_split(weights: Weights, train: Any, test: Any, **options: Any) -> Split:
    """Frozen features of both sources by one encoder. `options` are those of `encoded_splits`."""
    return encoded_splits({"x": weights}, train, test, **options)["x"]()


def random_reader(encoder: Encoder, seed: int) -> Weights:
    """An encoder of texts that was never trained."""
    make = lambda: (encoder, random_variables(encoder, Arrays(records_of(encoder, ("a",))), seed))  # noqa: E731
    return Weights(cache(make))


def random_weights(
    encoder: Encoder, source: Any, seed: int, reader: Reader = PLAIN, identity: Identity = None
) -> Weights:
    """An encoder that was never trained."""
    make = lambda: (encoder, random_variables(encoder, source, seed, reader.label, reader.target, reader.tolerance))  # noqa: E731
    drawn = None if identity is None else {**identity, "random": seed, "statistics": source.fingerprint()}
    return Weights(cache(make), drawn)


def supervised_split(
    fit: Fit,
    examples: int,
    few_examples: int,
    seed: int,
    train: Any,
    test: Any,
    classes: int | None = None,
    reader: Reader = PLAIN,
    title: str = "supervised",
    identity: Identity = None,
) -> Split:
    """Features of an encoder trained from scratch on the labels of `train`, for `examples` examples.

    Few-label probes get one encoder for each draw, trained on the drawn labels only, for `few_examples`.
    """

    def trained(source: Any, examples: int) -> Weights:
        learnt = {"supervised": examples, "seed": seed, "labels of": source.fingerprint(), "label": reader.label}
        return Weights(
            cache(partial(fit, source, examples, seed)), None if identity is None else {**identity, **learnt}
        )

    whole = encoded_split(trained(train, examples), train, test, classes=classes, reader=reader, title=title)

    def learn(rows: np.ndarray) -> Split:
        drawn = Rows(train, whole.train.ids[rows])  # rows of features, and some records may have none
        weights = trained(drawn, few_examples)
        few = f"{title}, {len(rows)} labels"
        return encoded_split(weights, drawn, test, classes=whole.classes, reader=reader, title=few)

    return replace(whole, learn=learn)
