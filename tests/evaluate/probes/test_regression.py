"""The regression probe: known answers, and nothing of the state reaches the encoder."""

import numpy as np
import pytest

from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.data.sources.pendulum import Pendulum
from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split, extract, standardise
from ssl_jax.evaluate.probes.regression import Probe, rank_correlation
from ssl_jax.evaluate.ridge import ridge
from ssl_jax.evaluate.suite import Settings, evaluate, table

rng = np.random.default_rng(0)
STATE = rng.standard_normal((600, 3))


def split_of(x, target=STATE):
    y, ids, target = np.zeros(len(x), np.int32), np.arange(len(x)), np.asarray(target, np.float32)
    whole = Features(np.asarray(x, np.float32), y, ids, target)
    return Split(whole.take(ids[:400]), whole.take(ids[400:]), 1)


def test_a_state_that_is_linear_in_the_features_is_read_off_and_noise_is_not():
    assert Probe().run(split_of(STATE @ rng.standard_normal((3, 20)) + 5))["r2"] > 0.999
    assert abs(Probe().run(split_of(rng.standard_normal((600, 20))))["r2"]) < 0.1
    half = Probe().run(split_of(STATE + rng.standard_normal((600, 3))))  # as much noise as signal
    assert half["r2"] == pytest.approx(0.5, abs=0.08)
    assert len(half["each"]) == 3
    assert half["mae"] == pytest.approx(np.sqrt(0.5) * np.sqrt(2 / np.pi), abs=0.06)  # the mean of |N(0, 1/2)|
    assert half["spearman"] == pytest.approx(6 / np.pi * np.arcsin(np.sqrt(0.5) / 2), abs=0.05)  # of a normal pair


def test_ranks_of_a_constant_are_zero_and_of_what_only_grows_one():
    a = rng.standard_normal(50)
    assert [rank_correlation(a, b) for b in (np.exp(a), -a, np.ones(50))] == pytest.approx([1, -1, 0])


def test_predicting_the_mean_is_zero_and_a_constant_feature_does_no_harm():
    assert Probe().run(split_of(np.ones((600, 4))))["r2"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("width", [10, 80], ids=["more rows", "more features"])
def test_ridge_is_the_solution_of_its_equations_with_the_least_left_out_error(width):
    x, held = standardise(rng.standard_normal((40, width)), rng.standard_normal((7, width)))
    targets = x[:, :2] @ rng.standard_normal((2, 2)) + rng.standard_normal((40, 2))
    strengths = (1e-2, 1e-1, 1.0)
    found, chosen = ridge(x, targets, held, strengths)

    def fitted(rows, strength, at):
        ones = lambda x: np.concatenate([x, np.ones((len(x), 1))], axis=1)  # noqa: E731
        penalty = np.diag([strength * np.square(x).sum() / 40] * width + [0.0])  # the intercept is free
        a = ones(x[rows])
        return ones(np.atleast_2d(at)) @ np.linalg.solve(a.T @ a + penalty, a.T @ targets[rows])

    np.testing.assert_allclose(found, fitted(np.arange(40), chosen, held), rtol=1e-6, atol=1e-8)
    left = [[np.delete(np.arange(40), i) for i in range(40)]] * len(strengths)
    errors = [
        sum(np.square(fitted(rows, s, x[i]) - targets[i]).sum() for i, rows in enumerate(part))
        for s, part in zip(strengths, left, strict=True)
    ]
    assert chosen == strengths[int(np.argmin(errors))]


def test_the_suite_has_the_state_beside_raw_input_and_random_init_but_never_shows_it(encoder, variables):
    def source(count, seed):
        noise = np.random.default_rng(seed)
        state = noise.standard_normal((count, 2)).astype(np.float32)
        signal = 100 * np.pad(state, ((0, 0), (0, 22))) + 10 * noise.standard_normal((count, 24))
        return Arrays({"signal": signal.astype(np.int16), "label": np.arange(count) % 4, "state": state})

    train, test = source(160, 0), source(80, 1)
    features = extract(encoder, variables, train, target="state")
    np.testing.assert_array_equal(features.target, train.columns["state"])
    settings = Settings(probes=("regression",), target="state")
    results = evaluate({"student": (encoder, variables)}, train, test, settings)
    assert list(results["rows"]) == ["pretrained (student)", "random init", "raw input"]
    assert all(row["regression"]["r2"] > 0.5 for row in results["rows"].values())
    assert results["rows"]["raw input"]["regression"]["r2"] > 0.9
    assert "R^2" in table(results)


def test_what_cannot_be_predicted_is_named(encoder, variables, make_signals):
    one = {"student": (encoder, variables)}
    with pytest.raises(UserError, match=r"set evaluate.target to a field of the records"):
        evaluate(one, make_signals(8, 0), make_signals(8, 1), Settings(probes=("regression",)))
    with pytest.raises(UserError, match=r"evaluate.target='state': records have only signal; name one of them"):
        evaluate(one, make_signals(8, 0), make_signals(8, 1), Settings(probes=("regression",), target="state"))


def test_the_pendulum_has_a_state_to_predict():
    record = Pendulum("probe", limit=4).batch(np.arange(4))
    assert record["state"].shape == (4, 3)
