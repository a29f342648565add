"""Regression losses: known answers."""

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.losses.mean import Mean, mean_of
from ssl_jax.losses.regression import masked_patch_mse, smooth_l1, standardize


def test_smooth_l1_is_quadratic_below_one_and_linear_above():
    d = jnp.array([[0.0, 0.5, -0.5, 1.0, -3.0]])
    np.testing.assert_allclose(smooth_l1(d, jnp.zeros_like(d)).value, np.mean([0, 0.125, 0.125, 0.5, 2.5]))
    gradient = jax.grad(lambda p: smooth_l1(p, jnp.zeros_like(p)).total)(d)
    np.testing.assert_allclose(gradient, [[0, 0.5, -0.5, 1, -1]])


def test_padding_counts_neither_in_the_sum_nor_in_the_weight():
    d = jnp.ones((2, 3, 4)).at[:, 2].set(100.0)
    valid = jnp.array([[True, True, False]] * 2)
    mean = smooth_l1(d, jnp.zeros_like(d), valid)
    assert (float(mean.value), float(mean.weight)) == (0.5, 16.0)


def test_only_masked_patches_count():
    target = jnp.zeros((1, 3, 2))
    prediction = target.at[0, 1].set(2.0).at[0, 2].set(5.0)
    assert float(masked_patch_mse(prediction, target, jnp.array([[1.0, 1.0, 0.0]])).value) == 2.0


def test_standardize_with_ddof_1_has_unit_unbiased_variance():
    x = jax.random.normal(jax.random.key(0), (5, 48)) * 3 + 2
    z = standardize(x, 0.0, ddof=1)
    np.testing.assert_allclose(z.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(z.var(-1, ddof=1), 1, rtol=1e-5)


def test_a_mean_survives_splitting():
    values, weights = jnp.arange(6.0), jnp.array([1.0, 0, 1, 1, 0, 1])
    parts = [mean_of(values[i : i + 2], weights[i : i + 2]) for i in (0, 2, 4)]
    joined = Mean(sum(p.total for p in parts), sum(p.weight for p in parts))
    assert joined.value == mean_of(values, weights).value
