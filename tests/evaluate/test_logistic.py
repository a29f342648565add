import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from ssl_jax.evaluate import logistic
from ssl_jax.evaluate.features import standardise
from ssl_jax.evaluate.logistic import fits, problem

STRENGTHS = (0.01, 1.0, 10.0, 0.1, 0.1)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:600], order[600:1200]
    return *standardise(x[train], x[test]), y[train], y[test]


@pytest.fixture(scope="module")
def rows():
    third = np.arange(600) % 3 == 0
    return np.stack([*np.ones((3, 600), bool), third, ~third])


@pytest.fixture(scope="module")
def exact(digits, rows):
    x, _, y, _ = digits
    with jax.enable_x64(True):
        return fits(problem(x, y, 10), STRENGTHS, rows, tolerance=1e-9, iterations=5000)


def oracle(x, y, strength):
    return LogisticRegression(C=strength, solver="newton-cg", tol=1e-12, max_iter=500).fit(x, y)


def probabilities(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


@pytest.mark.parametrize("lane", range(5), ids=[f"C={c}" for c in STRENGTHS[:3]] + ["a third", "two thirds"])
def test_probabilities_equal_sklearn_in_float64_for_every_penalty_and_choice_of_rows(digits, rows, exact, lane):
    x, test, y, _ = digits
    expected = oracle(x[rows[lane]], y[rows[lane]], STRENGTHS[lane]).predict_proba(test)
    assert exact.kernel.dtype == np.float64
    np.testing.assert_allclose(probabilities(exact.logits(test)[lane]), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "logits", "chance"), [(np.float64, 1e-4, 1e-9), (np.float32, 0.02, 1e-5)])
def test_weak_penalties_on_separable_classes_are_fitted_to_the_end(dtype, logits, chance):
    """Where the loss is 1e-3 and less at its minimum. A bound on the gradient alone left logits wrong by up to 4.9."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = standardise(4 * np.eye(3, 20)[y] + 0.3 * rng.standard_normal((300, 20)))[0]
    with jax.enable_x64(dtype == np.float64):
        solved = fits(problem(x.astype(dtype), y, 3), (1.0, 100.0, 1e4))
    assert solved.iterations.max() < 100
    for lane, strength in enumerate((1.0, 100.0, 1e4)):
        wanted = oracle(x, y, strength)
        found = solved.logits(x)[lane]
        np.testing.assert_allclose(
            found - found.mean(-1, keepdims=True), wanted.decision_function(x), rtol=0, atol=logits
        )
        np.testing.assert_allclose(probabilities(found), wanted.predict_proba(x), atol=chance, rtol=0)


def test_float32_predicts_the_same(digits, rows, exact):
    x, test, y, _ = digits
    solved = fits(problem(x.astype(np.float32), y, 10), STRENGTHS, rows)
    assert solved.kernel.dtype == np.float32
    assert ((solved.logits(test).argmax(-1) == exact.logits(test).argmax(-1)).mean(-1) >= 0.995).all()


def test_axes_of_the_features_themselves_give_the_same_fit(digits, rows, exact, monkeypatch):
    x, test, y, _ = digits
    monkeypatch.setattr(logistic, "_AXES", 8)
    with jax.enable_x64(True):
        plain = problem(x, y, 10)
        assert plain.rotation is None
        solved = fits(plain, STRENGTHS, rows, tolerance=1e-9, iterations=5000)
    np.testing.assert_allclose(solved.logits(test), exact.logits(test), atol=1e-5)


def test_lanes_may_be_fitted_in_parts(digits, rows, monkeypatch):
    x, test, y, _ = digits
    ready = problem(x.astype(np.float32), y, 10)
    together = fits(ready, STRENGTHS, rows).logits(test)
    monkeypatch.setattr(logistic, "_FLOATS", 1)
    apart = fits(ready, STRENGTHS, rows).logits(test)
    assert ((apart.argmax(-1) == together.argmax(-1)).mean(-1) >= 0.995).all()


def test_fewer_rows_than_features_have_as_many_axes_and_lose_nothing(digits):
    x, _, y, _ = digits
    ready = problem(x[:40], y[:40], 10)
    assert ready.z.shape == (40, 41)
    np.testing.assert_allclose(ready.z[:, :-1] @ ready.rotation.T, x[:40], atol=1e-5)
    np.testing.assert_allclose(ready.rotation.T @ ready.rotation, np.eye(40), atol=1e-9)


def test_many_rows_and_lanes_are_fitted_and_in_few_iterations_whatever_the_conditioning():
    # 12 lanes x 4000 rows: above the 32768 outputs from which jaxlib 0.10.2 miscompiles some fusions on CPU.
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 4000)
    spread = np.diag(np.logspace(0, -3, 16)) @ np.linalg.qr(rng.standard_normal((16, 16)))[0]
    x = ((np.eye(4, 16)[y] + rng.standard_normal((4000, 16))) @ spread).astype(np.float32)
    strengths = np.logspace(-3, 4, 12)
    solved = fits(problem(x, y, 4), strengths)
    assert (solved.gradient < 1e-3).all()
    assert solved.iterations.max() < 60
    for lane in (0, 6, 11):
        expected = oracle(x.astype(np.float64), y, strengths[lane]).predict(x)
        assert (solved.logits(x)[lane].argmax(-1) == expected).mean() > 0.995
