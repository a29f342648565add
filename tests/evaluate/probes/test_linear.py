import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes.linear import STRENGTHS, Probe


def features(x, y):
    return Features(x.astype(np.float32), y.astype(np.int32), np.arange(len(x), dtype=np.int32))


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return Split(features(x[order[:600]], y[order[:600]]), features(x[order[600:]], y[order[600:]]), 10)


def test_the_probe_reaches_what_sklearn_reaches_with_the_same_penalty(digits):
    result = Probe().run(digits)
    scaler = StandardScaler().fit(digits.train.x)
    model = LogisticRegression(C=result["C"], max_iter=2000).fit(scaler.transform(digits.train.x), digits.train.y)
    assert result["accuracy"] == pytest.approx(model.score(scaler.transform(digits.test.x), digits.test.y), abs=2.5e-3)
    assert result["accuracy"] > 0.94


def test_the_result_says_how_it_was_chosen(digits):
    result = Probe().run(digits)
    assert [point["C"] for point in result["held_out"]] == pytest.approx(list(STRENGTHS))
    assert min(result["held_out"], key=lambda point: point["loss"])["C"] == result["C"]
    assert all(0 <= point["accuracy"] <= 1 for point in result["held_out"])
    assert result["interval"][0] < result["accuracy"] < result["interval"][1]
    assert (result["n_train"], result["n_test"]) == (600, 1197)
    assert 0.15 < result["n_held_out"] / 600 < 0.25
    assert result["note"] == ""


def test_the_test_labels_play_no_part_in_the_choice(digits):
    shuffled = digits.test._replace(y=np.random.default_rng(0).permutation(digits.test.y))
    blind = Probe().run(Split(digits.train, shuffled, 10))
    seen = Probe().run(digits)
    assert (blind["C"], blind["held_out"]) == (seen["C"], seen["held_out"])
    assert blind["accuracy"] < 0.2


def test_the_choice_at_an_end_of_the_grid_is_noted(digits):
    assert "smallest of the grid" in Probe(strengths=np.logspace(2, 4, 10)).run(digits)["note"]
    assert "largest of the grid" in Probe(strengths=np.logspace(-8, -6, 10)).run(digits)["note"]


def test_the_scale_of_a_feature_does_not_matter(digits):
    scale = np.logspace(-3, 3, 64).astype(np.float32)
    scaled = Split(digits.train._replace(x=digits.train.x * scale), digits.test._replace(x=digits.test.x * scale), 10)
    assert Probe().run(scaled)["accuracy"] == pytest.approx(Probe().run(digits)["accuracy"], abs=2.5e-3)


def test_the_interval_is_that_of_a_bootstrap_over_test_examples():
    predicted, labels = np.zeros(400, int), (np.arange(400) % 4 == 0).astype(int)
    result = accuracy(predicted, labels)
    right = np.random.default_rng(1).choice(predicted == labels, (4000, 400)).mean(1)
    np.testing.assert_allclose(result["interval"], np.quantile(right, (0.025, 0.975)), atol=0.006)
    assert (result["accuracy"], result["chance"], result["n_test"]) == (0.75, 0.75, 400)


def test_one_label_of_each_class_is_enough_for_a_fit_but_not_for_a_choice(digits):
    first = np.unique(digits.train.y, return_index=True)[1]
    result = Probe().run(Split(digits.train.take(first), digits.test, 10))
    assert 0.3 < result["accuracy"] < 0.9
    assert result["note"].startswith("one label per class leaves none to choose C on")
    assert (result["n_train"], result["n_held_out"], result["held_out"]) == (10, 0, [])
