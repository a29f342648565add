import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes import knn


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x = (x - x.mean(0)).astype(np.float32)
    return x[:1000], y[:1000], x[1000:], y[1000:]


def test_predictions_equal_sklearn(digits):
    x, y, test, _ = digits
    weights = lambda distance: np.exp((1 - distance) / 0.07)  # noqa: E731
    oracle = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=weights).fit(x, y)
    np.testing.assert_array_equal(knn.classify(x, y, test, 10), oracle.predict(test))


def test_neighbours_are_by_direction_and_nearest_first():
    bank = np.array([[1, 0], [3, 3], [0, 5], [-1, 0]], np.float32)
    similarity, index = knn.neighbours(bank, np.array([[2, 1]], np.float32), 3)
    assert index.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(similarity, [[3 / 10**0.5, 2 / 5**0.5, 1 / 5**0.5]], rtol=1e-6)


def test_a_small_temperature_does_not_overflow(digits):
    x, y, test, _ = digits
    assert (knn.classify(x, y, test, 10, k=1) == knn.classify(x, y, test, 10, temperature=1e-4)).mean() > 0.99


def test_the_probe_gives_accuracy_and_its_interval(digits):
    x, y, test, labels = digits
    ids = np.arange(1000)
    result = knn.Probe().run(Split(Features(x, y, ids), Features(test, labels, ids[: len(test)]), 10))
    assert result["accuracy"] > 0.9
    assert result["interval"][0] < result["accuracy"] < result["interval"][1]


def test_more_neighbours_than_examples_are_refused(digits):
    x, y, test, _ = digits
    with pytest.raises(UserError, match="k=20 neighbours of 5"):
        knn.classify(x[:5], y[:5], test, 10)


def test_k_and_temperature_are_chosen_by_leaving_one_out(digits):
    x, y, test, labels = digits
    ids = np.arange(len(x))
    noisy = np.where(
        np.random.default_rng(0).random(150) < 0.3, (y[:150] + 1) % 10, y[:150]
    )  # one neighbour is not enough
    split = Split(Features(x[:150], noisy, ids[:150]), Features(test, labels, ids[: len(test)]), 10)
    probe = knn.Probe(k=(1, 5, 20), temperature=(0.07, 1.0))
    result = probe.run(split)
    curve = {(point["k"], point["temperature"]): point["accuracy"] for point in result["leave_one_out"]}
    assert len(curve) == 6
    for k in (5, 20):
        weights = lambda distance: np.exp((1 - distance) / 0.07)  # noqa: E731
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights)
        assert curve[k, 0.07] == pytest.approx(
            cross_val_score(model, x[:150], noisy, cv=LeaveOneOut()).mean(), abs=0.01
        )
    assert max(curve, key=curve.get) == (result["k"], result["temperature"])
    assert result["k"] > 1
    assert result["accuracy"] == knn.Probe(k=result["k"], temperature=result["temperature"]).run(split)["accuracy"]


def test_what_there_is_to_be_chosen_is_in_the_protocol_and_too_large_a_k_is_told_first():
    assert knn.Probe().protocol == "kNN: cosine, k=20, weights exp(s/0.07)"
    assert (
        knn.Probe(k=(10, 20)).protocol
        == "kNN: cosine, k=10 or 20, weights exp(s/0.07), by leave-one-out accuracy on train"
    )
    assert knn.Probe(k=20).checked(range(20), ()) is None
    assert "k=20 neighbours of 19" in knn.Probe(k=(1, 20)).checked(range(20), ())
