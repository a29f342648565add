"""The supervised baseline trains the encoder that is evaluated, whatever it is given."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import extract
from ssl_jax.evaluate.supervised import SupervisedFit


@dataclass(frozen=True)
class TwoKinds:
    """Views of records with a signal and its sign; no encoder takes both."""

    inputs = ("signal", "sign")

    def __call__(self, keys, batch):
        assert batch.keys() == {"signal"}
        noise = jax.vmap(lambda key: jax.random.normal(key, (24,)))(keys)
        return {"signal": (batch["signal"] * 0.01 + 0.1 * noise)[:, None], "sign": jnp.sign(batch["signal"])[:, None]}


def by_kind(signals):
    columns = signals.columns
    return Arrays({"signal": columns["signal"], "kind": columns["label"], "label": columns["label"] * 0})


def apart(x, y):
    """How far classes lie from each other, by how far their members do."""
    members = [x[y == c] for c in np.unique(y)]
    return np.stack([m.mean(0) for m in members]).var(0).sum() / np.mean([m.var(0).sum() for m in members])


@pytest.mark.parametrize("inputs", ["signal", "level"])
def test_it_learns_the_labels_by_name_from_the_views_of_its_own_inputs(encoder, variables, make_signals, inputs):
    """`level` is in no view: the encoder is then trained on what it is given at evaluation."""
    scaled = lambda batch: {inputs: batch["signal"] * 0.01}  # noqa: E731
    asked = replace(encoder, path=("params", "first"), inputs=(inputs,), preprocess=scaled)
    train = by_kind(make_signals(160, 0))
    fit = SupervisedFit(asked, TwoKinds(), classes=4, label="kind")
    trained, weights = fit(train, 64_000, seed=0)
    assert trained == replace(asked, path=("params", "encoder"))
    assert jax.tree.map(np.shape, weights) == jax.tree.map(np.shape, variables)
    y = train.columns["kind"]
    before, after = (apart(extract(e, v, train).x, y) for e, v in ((asked, variables), (trained, weights)))
    assert after > 1.5 * before


def test_labels_that_are_not_there_are_named(encoder, make_signals):
    with pytest.raises(UserError, match="the probe split has no field 'kind'"):
        SupervisedFit(encoder, TwoKinds(), classes=4, label="kind")(make_signals(8, 0), 8, seed=0)
