import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes.attentive import TOKENS, Probe
from ssl_jax.evaluate.probes.mlp import Probe as MLP


def tokens(count, seed):
    """One token of six says the class, in a place of its own for each record; its first number says which it is."""
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % 3).astype(np.int32)
    x = rng.standard_normal((count, 6, 8))
    at = rng.integers(0, 6, count)
    x[np.arange(count), at] = 4 * np.eye(3, 8)[y] + 0.1 * x[np.arange(count), at]
    x[..., -1] = 0
    x[np.arange(count), at, -1] = 6
    return Features(x.astype(np.float32), y, np.arange(count))


@pytest.fixture(scope="module")
def split():
    return Split(tokens(300, 0), tokens(300, 1), 3)


@pytest.mark.slow
def test_it_finds_the_token_that_counts(split):
    probe = Probe(rates=(0.05,), decays=(1e-3,), heads=2, epochs=30, batch_size=64)
    result = probe.run(split)
    assert result["accuracy"] > 0.95
    assert (result["rate"], result["n_tokens"]) == (pytest.approx(0.05), 6)
    mean = Split(*(part._replace(x=part.x.mean(1)) for part in (split.train, split.test)), 3, readings={TOKENS: split})
    assert probe.run(mean)["accuracy"] == result["accuracy"]


def test_heads_that_do_not_divide_the_width_are_told(split):
    with pytest.raises(UserError, match="tokens of 8 numbers and heads=3: use a number of heads that divides 8"):
        Probe(heads=3).run(split)


@pytest.mark.slow
def test_an_mlp_finds_what_no_line_parts():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((800, 6)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int32)
    part = Features(x, y, np.arange(800))
    result = MLP(hidden=32, depths=(1,), rates=(0.02,), batch_size=64, epochs=20).run(
        Split(part.take(slice(500)), part.take(slice(500, None)), 2)
    )
    assert result["accuracy"] > 0.85
    assert result["depth"] == "1 hidden"
