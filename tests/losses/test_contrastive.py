"""NT-Xent: known answers and symmetries (the goldens hold values and gradients)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import normal
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.losses import contrastive
from ssl_jax.losses.contrastive import normalize

nt_xent = jax.jit(contrastive.nt_xent)


def embeddings(rows=6, width=8):
    return normal(0, 2, rows, width)


@pytest.mark.parametrize("rows", [2, 5, 16])
def test_identical_rows_give_the_log_of_the_number_of_candidates(rows):
    z = np.ones((rows, 4))
    np.testing.assert_allclose(nt_xent(z, z, 0.3).value, np.log(2 * rows - 1), rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), temperature=st.floats(0.05, 2.0))
def test_permuting_images_and_swapping_views_change_nothing(seed, temperature):
    z0, z1 = embeddings()
    order = np.random.default_rng(seed).permutation(len(z0))
    expected = nt_xent(z0, z1, temperature).value
    np.testing.assert_allclose(nt_xent(z0[order], z1[order], temperature).value, expected, rtol=1e-5)
    np.testing.assert_allclose(nt_xent(z1, z0, temperature).value, expected, rtol=1e-5)


def test_the_length_of_an_embedding_does_not_matter():
    z0, z1 = embeddings()
    np.testing.assert_allclose(nt_xent(7 * z0, 0.1 * z1, 0.2).value, nt_xent(z0, z1, 0.2).value, rtol=1e-5)


def test_negatives_carry_gradient_in_both_directions():
    z0, z1 = embeddings()
    gradient = jax.jit(jax.grad(lambda z: -jax.nn.logsumexp(normalize(z[:1]) @ normalize(z[1:]).T)))(z0)
    assert (np.abs(np.asarray(gradient)).sum(axis=1) > 0).all()
    both = jax.jit(jax.grad(lambda a, b: nt_xent(a, b, 0.2).value, (0, 1)))(z0, z1)
    assert all((np.abs(np.asarray(g)).sum(axis=1) > 0).all() for g in both)


def test_a_zero_embedding_has_a_finite_gradient():
    gradient = jax.jit(jax.grad(lambda z: nt_xent(z, jnp.ones_like(z), 0.2).value))(np.zeros((3, 4)))
    assert np.isfinite(gradient).all()
