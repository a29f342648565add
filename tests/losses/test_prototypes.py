"""Sinkhorn-Knopp, centring, prototype and vocabulary cross-entropy: known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.losses import prototypes, vocabulary
from ssl_jax.losses.prototypes import centred_softmax

sinkhorn = jax.jit(prototypes.sinkhorn, static_argnums=(1, 2))
prototype_cross_entropy = jax.jit(prototypes.prototype_cross_entropy)
linear_softmax_cross_entropy = jax.jit(vocabulary.linear_softmax_cross_entropy)
SCORES = np.random.default_rng(0).standard_normal((12, 5))


def exponential_domain(scores, temperature, iterations):
    q = np.exp(scores / temperature)
    for _ in range(iterations):
        q /= q.sum(axis=0, keepdims=True)
        q /= q.sum(axis=1, keepdims=True)
    return q


def test_sinkhorn_is_that_of_the_exponential_domain():
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            sinkhorn(jnp.asarray(SCORES), 0.3, 3), exponential_domain(SCORES, 0.3, 3), rtol=1e-12
        )


def test_padding_does_not_change_the_assignments_of_valid_rows():
    valid = np.arange(16) < 12
    padded = np.concatenate([SCORES, 9 * np.ones((4, 5))])
    q = np.asarray(sinkhorn(padded.astype(np.float32), 0.3, 3, valid))
    np.testing.assert_allclose(q[:12], exponential_domain(SCORES, 0.3, 3), rtol=2e-5, atol=1e-7)
    assert (q[12:] == 0).all()


@pytest.mark.parametrize("valid", [np.ones(15, bool), np.ones((16, 1), bool), np.ones(16)], ids=str)
def test_padding_that_would_count_in_the_sums_is_refused_before_compilation(valid):
    with pytest.raises(UserError, match=r"padded rows would count in the sums; give bool\[16\], False on padding"):
        jax.eval_shape(lambda scores: sinkhorn(scores, 0.3, 3, jnp.asarray(valid)), jnp.zeros((16, 5)))


def test_many_iterations_use_all_prototypes_equally():
    q = np.asarray(prototypes.sinkhorn(SCORES.astype(np.float32), 0.5, 200))
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(q.sum(axis=0), 12 / 5, rtol=1e-3)


def test_a_prototype_far_from_every_row_gives_no_nan():
    far = SCORES.astype(np.float32) - np.array([0, 0, 0, 0, 1e4], np.float32)
    assert np.isfinite(sinkhorn(jnp.asarray(far), 0.05)).all()


def test_centring_subtracts_the_centre_before_the_temperature():
    centre = SCORES.mean(axis=0)
    expected = np.exp((SCORES - centre) / 0.4)
    np.testing.assert_allclose(
        centred_softmax(jnp.asarray(SCORES), centre, 0.4), expected / expected.sum(1, keepdims=True), rtol=1e-5
    )


def test_equal_logits_cost_the_log_of_the_number_of_classes():
    uniform = np.zeros((3, 7))
    assert np.isclose(prototype_cross_entropy(uniform, np.eye(3, 7), 0.1).value, np.log(7))
    hidden, table = np.zeros((3, 4)), np.ones((7, 4))
    assert np.isclose(linear_softmax_cross_entropy(hidden, table, np.arange(3)).value, np.log(7))
