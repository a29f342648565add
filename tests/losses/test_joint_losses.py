"""Known answers of the joint-embedding losses, and what they must not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.losses.classification import classification
from ssl_jax.losses.contrastive import bilinear_info_nce, info_nce, normalize, queue_info_nce
from ssl_jax.losses.decorrelation import barlow_twins, cross_correlation, random_directions, sigreg, vicreg
from ssl_jax.losses.prototypes import sinkhorn
from ssl_jax.losses.regression import negative_cosine, normalized_error

RNG = np.random.default_rng(0)
X, Y = (jnp.asarray(RNG.standard_normal((12, 6)), jnp.float32) for _ in range(2))


def total(terms):
    return float(sum(term.value for term in terms.values()))


def test_contrastive_losses_of_equal_rows_are_the_logarithm_of_the_candidates():
    same = jnp.ones((12, 6))
    queue = normalize(jnp.ones((20, 6)))
    np.testing.assert_allclose(info_nce(same, same, 0.1).value, np.log(12), rtol=1e-5)
    np.testing.assert_allclose(queue_info_nce(same, same, queue, 0.1).value, np.log(21), rtol=1e-5)
    np.testing.assert_allclose(bilinear_info_nce(same, same, jnp.eye(6)).value, np.log(12), rtol=1e-5)


def test_a_key_of_the_queue_is_a_negative_only_and_has_no_part_in_the_positive():
    far = normalize(-X)  # as far as can be: the queue does not matter at a low temperature
    np.testing.assert_allclose(queue_info_nce(X[:1], X[:1], far[:1], 0.05).value, 0.0, atol=1e-6)
    assert queue_info_nce(X[:1], Y[:1], normalize(X[:1]), 0.05).value > 5


@pytest.mark.parametrize(("loss", "best"), [(negative_cosine, -1.0), (normalized_error, 0.0)])
def test_regression_to_a_target_is_best_at_any_multiple_of_it_and_gives_it_no_gradient(loss, best):
    np.testing.assert_allclose(loss(3 * X, X).value, best, atol=1e-6)
    gradient = jax.grad(lambda p, z: loss(p, z).value, (0, 1))(X, Y)
    assert float(jnp.abs(gradient[0]).max()) > 0
    assert float(jnp.abs(gradient[1]).max()) == 0


def test_barlow_twins_of_identical_whitened_views_is_nothing_and_of_constants_is_the_width():
    white = jnp.asarray(np.linalg.qr(np.asarray(X - X.mean(0)))[0] * np.sqrt(12))
    np.testing.assert_allclose(cross_correlation(white, white), np.eye(6), atol=1e-4)
    assert total(barlow_twins(white, white)) < 1e-6
    np.testing.assert_allclose(total(barlow_twins(jnp.ones((12, 6)), jnp.ones((12, 6)))), 6.0, rtol=1e-5)


def test_vicreg_of_constant_embeddings_is_the_variance_term_alone():
    terms = {k: float(t.value) for k, t in vicreg(jnp.ones((12, 6)), jnp.ones((12, 6))).items()}
    np.testing.assert_allclose(terms["variance"], 25 * (1 - np.sqrt(1e-4)), rtol=1e-5)
    assert terms["invariance"] == terms["covariance"] == 0


def test_sigreg_is_small_for_normal_rows_and_the_whole_integral_for_a_collapse():
    directions = random_directions(jax.random.key(1), 8, 32)
    normal = jax.random.normal(jax.random.key(0), (512, 8))
    measure = jax.jit(lambda z: sigreg(z, directions))
    assert 0.05 < float(measure(normal)) < 3
    t = np.linspace(0, 3, 17)
    weights = np.where((t == 0) | (t == 3), 1, 2) * 3 / 16 * np.exp(-(t**2) / 2)
    collapsed = 512 * np.sum(weights * (1 - np.exp(-(t**2) / 2)) ** 2)
    np.testing.assert_allclose(measure(jnp.zeros((512, 8))), collapsed, rtol=1e-5)
    assert float(measure(3 * normal)) > 10


@pytest.mark.parametrize("loss", [lambda x, y: total(barlow_twins(x, y)), lambda x, y: total(vicreg(x, y))])
def test_symmetric_losses_do_not_know_the_order_of_rows_or_views(loss):
    order = RNG.permutation(12)
    np.testing.assert_allclose(loss(X[order], Y[order]), loss(X, Y), rtol=1e-5)
    np.testing.assert_allclose(loss(Y, X), loss(X, Y), rtol=1e-5)


def test_padding_has_no_part_in_sinkhorn_at_any_iteration():
    scores, padding = X, 10 * Y[:5]
    valid = jnp.arange(17) < 12
    padded = sinkhorn(jnp.concatenate([scores, padding]), 0.5, 3, valid)
    np.testing.assert_allclose(padded[:12], sinkhorn(scores, 0.5, 3), rtol=1e-5)
    assert float(jnp.abs(padded[12:]).max()) == 0


def test_classification_counts_rows_of_any_shape():
    logits = jnp.asarray([[[9.0, 0.0], [0.0, 9.0]], [[9.0, 0.0], [9.0, 0.0]]])
    loss, accuracy = classification(logits, jnp.asarray([[0, 1], [0, 1]]))
    assert float(accuracy.value) == 0.75
    np.testing.assert_allclose(loss.value, (3 * np.log1p(np.exp(-9)) + 9 + np.log1p(np.exp(-9))) / 4, rtol=1e-5)
