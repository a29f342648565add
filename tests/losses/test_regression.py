"""Regression losses: known answers."""

import jax
import jax.numpy as jnp
import numpy as np
from drawing import normal

from ssl_jax.losses import regression
from ssl_jax.losses.mean import Mean, mean_of

smooth_l1, masked_patch_mse = map(jax.jit, (regression.smooth_l1, regression.masked_patch_mse))
standardize = jax.jit(regression.standardize, static_argnames=("ddof",))


def test_smooth_l1_is_quadratic_below_one_and_linear_above():
    d = np.array([[0.0, 0.5, -0.5, 1.0, -3.0]])
    np.testing.assert_allclose(smooth_l1(d, np.zeros_like(d)).value, np.mean([0, 0.125, 0.125, 0.5, 2.5]))
    gradient = jax.jit(jax.grad(lambda p: smooth_l1(p, jnp.zeros_like(p)).total))(d)
    np.testing.assert_allclose(gradient, [[0, 0.5, -0.5, 1, -1]])


def test_padding_counts_neither_in_the_sum_nor_in_the_weight():
    d = np.ones((2, 3, 4))
    d[:, 2] = 100.0
    valid = np.array([[True, True, False]] * 2)
    mean = smooth_l1(d, np.zeros_like(d), valid)
    assert (float(mean.value), float(mean.weight)) == (0.5, 16.0)


def test_only_masked_patches_count():
    prediction = np.array([[[0.0, 0.0], [2.0, 2.0], [5.0, 5.0]]])
    assert float(masked_patch_mse(prediction, np.zeros((1, 3, 2)), np.array([[1.0, 1.0, 0.0]])).value) == 2.0


def test_standardize_with_ddof_1_has_unit_unbiased_variance():
    x = normal(0, 5, 48) * 3 + 2
    z = np.asarray(standardize(x, 0.0, ddof=1))
    np.testing.assert_allclose(z.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(z.var(-1, ddof=1), 1, rtol=1e-5)


def test_a_mean_survives_splitting():
    values, weights = np.arange(6.0, dtype=np.float32), np.array([1.0, 0, 1, 1, 0, 1], np.float32)
    parts = [mean_of(values[i : i + 2], weights[i : i + 2]) for i in (0, 2, 4)]
    joined = Mean(sum(p.total for p in parts), sum(p.weight for p in parts))
    assert joined.value == mean_of(values, weights).value
