"""Known answers of the joint-embedding losses, and what they must not depend on."""

import jax
import numpy as np
import pytest

from ssl_jax.losses import classification, contrastive, decorrelation, prototypes, regression
from ssl_jax.losses.decorrelation import random_directions, sigreg

RNG = np.random.default_rng(0)
X, Y = (RNG.standard_normal((12, 6)).astype(np.float32) for _ in range(2))
bilinear_info_nce, info_nce, queue_info_nce = map(
    jax.jit, (contrastive.bilinear_info_nce, contrastive.info_nce, contrastive.queue_info_nce)
)
barlow_twins, cross_correlation, vicreg = map(
    jax.jit, (decorrelation.barlow_twins, decorrelation.cross_correlation, decorrelation.vicreg)
)
sinkhorn = jax.jit(prototypes.sinkhorn, static_argnums=(1, 2))
normalize = lambda x: np.asarray(contrastive.normalize(x))  # noqa: E731


def total(terms):
    return float(sum(term.value for term in terms.values()))


def test_contrastive_losses_of_equal_rows_are_the_logarithm_of_the_candidates():
    same = np.ones((12, 6))
    queue = normalize(np.ones((20, 6)))
    np.testing.assert_allclose(info_nce(same, same, 0.1).value, np.log(12), rtol=1e-5)
    np.testing.assert_allclose(queue_info_nce(same, same, queue, 0.1).value, np.log(21), rtol=1e-5)
    np.testing.assert_allclose(bilinear_info_nce(same, same, np.eye(6)).value, np.log(12), rtol=1e-5)


def test_a_key_of_the_queue_is_a_negative_only_and_has_no_part_in_the_positive():
    far = normalize(-X)  # as far as can be: the queue does not matter at a low temperature
    np.testing.assert_allclose(queue_info_nce(X[:1], X[:1], far[:1], 0.05).value, 0.0, atol=1e-6)
    assert queue_info_nce(X[:1], Y[:1], normalize(X[:1]), 0.05).value > 5


@pytest.mark.parametrize(("loss", "best"), [(regression.negative_cosine, -1.0), (regression.normalized_error, 0.0)])
def test_regression_to_a_target_is_best_at_any_multiple_of_it_and_gives_it_no_gradient(loss, best):
    graded = jax.jit(jax.value_and_grad(lambda p, z: loss(p, z).value, (0, 1)))
    np.testing.assert_allclose(graded(3 * X, X)[0], best, atol=1e-6)
    gradient = graded(X, Y)[1]
    assert np.abs(gradient[0]).max() > 0
    assert np.abs(gradient[1]).max() == 0


def test_barlow_twins_of_identical_whitened_views_is_nothing_and_of_constants_is_the_width():
    white = np.linalg.qr(X - X.mean(0))[0] * np.float32(np.sqrt(12))
    np.testing.assert_allclose(cross_correlation(white, white), np.eye(6), atol=1e-4)
    assert total(barlow_twins(white, white)) < 1e-6
    np.testing.assert_allclose(total(barlow_twins(np.ones((12, 6)), np.ones((12, 6)))), 6.0, rtol=1e-5)


def test_vicreg_of_constant_embeddings_is_the_variance_term_alone():
    terms = {k: float(t.value) for k, t in vicreg(np.ones((12, 6)), np.ones((12, 6))).items()}
    np.testing.assert_allclose(terms["variance"], 25 * (1 - np.sqrt(1e-4)), rtol=1e-5)
    assert terms["invariance"] == terms["covariance"] == 0


def test_sigreg_is_small_for_normal_rows_and_the_whole_integral_for_a_collapse():
    directions = jax.jit(lambda: random_directions(jax.random.key(1), 8, 32))()
    normal = np.random.default_rng(0).standard_normal((512, 8)).astype(np.float32)
    measure = jax.jit(lambda z: sigreg(z, directions))
    assert 0.05 < float(measure(normal)) < 3
    t = np.linspace(0, 3, 17)
    weights = np.where((t == 0) | (t == 3), 1, 2) * 3 / 16 * np.exp(-(t**2) / 2)
    collapsed = 512 * np.sum(weights * (1 - np.exp(-(t**2) / 2)) ** 2)
    np.testing.assert_allclose(measure(np.zeros((512, 8))), collapsed, rtol=1e-5)
    assert float(measure(3 * normal)) > 10


@pytest.mark.parametrize("loss", [lambda x, y: total(barlow_twins(x, y)), lambda x, y: total(vicreg(x, y))])
def test_symmetric_losses_do_not_know_the_order_of_rows_or_views(loss):
    order = RNG.permutation(12)
    np.testing.assert_allclose(loss(X[order], Y[order]), loss(X, Y), rtol=1e-5)
    np.testing.assert_allclose(loss(Y, X), loss(X, Y), rtol=1e-5)


def test_padding_has_no_part_in_sinkhorn_at_any_iteration():
    scores, padding = X, 10 * Y[:5]
    valid = np.arange(17) < 12
    padded = np.asarray(sinkhorn(np.concatenate([scores, padding]), 0.5, 3, valid))
    np.testing.assert_allclose(padded[:12], sinkhorn(scores, 0.5, 3), rtol=1e-5)
    assert np.abs(padded[12:]).max() == 0


def test_classification_counts_rows_of_any_shape():
    logits = np.array([[[9.0, 0.0], [0.0, 9.0]], [[9.0, 0.0], [9.0, 0.0]]])
    loss, accuracy = jax.jit(classification.classification)(logits, np.array([[0, 1], [0, 1]]))
    assert float(accuracy.value) == 0.75
    np.testing.assert_allclose(loss.value, (3 * np.log1p(np.exp(-9)) + 9 + np.log1p(np.exp(-9))) / 4, rtol=1e-5)
