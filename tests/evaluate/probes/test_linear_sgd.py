import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes.linear_sgd import Probe
from ssl_jax.evaluate.readings import Reading

MEAN, FOURTH = Reading("mean"), Reading("class", -4)


def gaussians(count, seed, distance, width=12):
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % 4).astype(np.int32)
    x = distance * np.eye(4, width)[y] + rng.standard_normal((count, width))
    return Features(x.astype(np.float32), y, np.arange(count))


def split(distance, seed=0):
    return Split(gaussians(400, seed, distance), gaussians(600, seed + 1, distance), 4)


@pytest.fixture(scope="module")
def layers():
    """Own features that say little, a mean that says more, and a class token that says nothing."""
    own, mean = split(0.5), split(2.0, seed=2)
    return Split(own.train, own.test, 4, readings={MEAN: mean, FOURTH: split(0.0, seed=4)})


@pytest.fixture(scope="module")
def result(layers):
    return Probe(rates=(1e-3, 0.3), readings=("own", "mean", "mean+class@-4"), epochs=12, batch_size=64).run(layers)


def test_rates_and_readings_are_chosen_on_train(result):
    assert result["reading"] in ("mean", "mean+class@-4")
    assert result["rate"] == pytest.approx(0.3)
    curve = {(p["name"], round(p["rate"], 6)): p["score"] for p in result["held_out"]}
    assert len(curve) == 6 == result["heads"]
    assert curve[result["reading"], 0.3] == max(curve.values())
    assert (result["n_train"], result["n_held_out"], result["n_test"]) == (400, 40, 600)
    assert "largest of the grid" in result["note"]


def test_it_reaches_what_logistic_regression_reaches(layers, result):
    x, y = layers.readings[MEAN].train.x, layers.train.y
    wanted = LogisticRegression().fit(x, y).score(layers.readings[MEAN].test.x, layers.test.y)
    assert result["accuracy"] == pytest.approx(wanted, abs=0.04)
    assert result["interval"][0] < result["accuracy"] < result["interval"][1]
    assert result["records"]["correct"].mean() == result["accuracy"]


def test_an_encoder_without_these_readings_is_read_by_its_own():
    probe = Probe(rates=(0.1,), readings=("class", "class+mean@-2"), epochs=1)
    assert [str(reading) for reading in probe.needs] == ["own", "class", "mean@-2"]
    assert probe.run(split(2.0))["reading"] == "own"


def test_batch_norm_makes_the_scale_of_features_immaterial_as_maes_protocol_needs():
    """Without it no rate is right for features of a thousandth and for one of a thousand."""
    probe = Probe(rates=(1.0,), norm="batch", epochs=10, batch_size=64)
    plain = split(2.0)
    scales = np.logspace(-3, 3, 12).astype(np.float32)
    scaled = Split(*(part._replace(x=part.x * scales) for part in (plain.train, plain.test)), 4)
    assert probe.run(scaled)["accuracy"] > 0.7
    assert Probe(rates=(1.0,), epochs=10, batch_size=64).run(scaled)["accuracy"] < 0.6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "layer"}, "norm='layer' is unknown; use one of none, train, batch"),
        ({"optimizer": "adam"}, "optimizer='adam' is unknown"),
        ({"readings": ("mean+centre",)}, "reading 'centre' is unknown"),
    ],
)
def test_what_is_unknown_is_told_when_the_probe_is_made(options, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        Probe(**options)
