import numpy as np
import pytest
from sklearn.datasets import load_digits
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


def test_chunks_change_nothing(digits, monkeypatch):
    x, _, test, _ = digits
    whole = knn.neighbours(x, test, 5)
    monkeypatch.setattr(knn, "_FLOATS", 300 * len(x))
    for a, b in zip(knn.neighbours(x, test, 5), whole, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


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
