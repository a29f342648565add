import numpy as np
import pytest
from sklearn.linear_model import Ridge

from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes import fewshot, fewshot_ridge
from ssl_jax.evaluate.ridge import least_squares_classes

rng = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [60, 12], ids=["more rows than features", "fewer"])
def test_outputs_are_those_of_ridge_regression_on_whitened_features(rows):
    """Whitened features have mean 0, so the constant of 100 is a bias of its own, shrunk by l2 / (10,000 rows)."""
    x, held = 3 + 2 * rng.standard_normal((rows, 24)), 3 + 2 * rng.standard_normal((20, 24))
    y = np.arange(rows) % 3
    white = lambda a: (a - x.mean(0)) / (x.std(0) + 1e-5)  # noqa: E731
    targets = 2 * np.eye(3)[y] - 1
    oracle = Ridge(alpha=16.0).fit(white(x), targets - targets.mean(0)).predict(white(held))
    oracle += targets.mean(0) * 1e4 * rows / (1e4 * rows + 16)
    np.testing.assert_allclose(least_squares_classes(x, y, held, 3, 16.0), oracle, atol=1e-9)


def test_labels_are_those_of_fewshot_and_more_of_them_help():
    y = (np.arange(400) % 4).astype(np.int32)
    x = (2 * np.eye(4, 24)[y] + rng.standard_normal((400, 24))).astype(np.float32)
    part = Features(x, y, np.arange(400))
    split = Split(part.take(slice(200)), part.take(slice(200, None)), 4)
    result = fewshot_ridge.Probe(shots=(1, 40), l2=16.0).run(split)
    assert 0.25 < result["accuracy_1"] < result["accuracy_40"] < 0.87
    same = fewshot.Probe(shots=(40,), draws=1).run(split)
    assert result["draws_40"][0]["labels"] == same["draws_40"][0]["labels"]
    assert [c["title"] for c in fewshot_ridge.Probe().columns] == ["25-shot", "10-shot", "5-shot", "1-shot"]
