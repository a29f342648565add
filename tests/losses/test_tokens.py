"""KoLeo, multi-crop cross-entropy and MSN at values that are known in advance."""

import jax
import numpy as np
import pytest
from drawing import normal

from ssl_jax.errors import UserError
from ssl_jax.losses import assignment, distillation, gram
from ssl_jax.losses import koleo as nearest
from ssl_jax.losses.prototypes import sinkhorn

koleo = jax.jit(nearest.koleo, static_argnames=("groups", "epsilon"))
masked_siamese = jax.jit(assignment.masked_siamese)
sharpened_assignment = jax.jit(assignment.sharpened_assignment, static_argnums=(1, 2, 3))
multicrop_cross_entropy, entropy = map(jax.jit, (distillation.multicrop_cross_entropy, distillation.entropy))
gram_anchoring = jax.jit(gram.gram_anchoring)


def test_koleo_of_a_basis_is_minus_log_sqrt_two_and_groups_do_not_see_each_other():
    basis = np.eye(8)
    np.testing.assert_allclose(koleo(basis).value, -0.5 * np.log(2), rtol=1e-6)
    twice = np.concatenate([basis[:4], basis[:4]])  # every row has a twin in the other group
    np.testing.assert_allclose(koleo(twice, groups=2).value, -0.5 * np.log(2), rtol=1e-6)
    assert koleo(twice).value > 10
    with pytest.raises(UserError, match="koleo_groups=3 does not split a batch of 8"):
        koleo(basis, groups=3)


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_koleo_finds_the_nearest_of_nearly_equal_rows_in_float32(spread):
    """Similarities of such rows are 1 but for rounding: where they decide, the neighbour is any of them."""
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal(64) + spread * rng.standard_normal((128, 64))).astype(np.float32)
    z = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    apart = np.linalg.norm(z[:, None] - z, axis=-1) + 9 * np.eye(128)
    np.testing.assert_allclose(koleo(rows, epsilon=1e-12).value, -np.log(apart.min(axis=1)).mean(), rtol=1e-4)


def test_equal_logits_cost_ln_k():
    targets = np.eye(5)[np.array([[0, 1], [2, 3], [4, 0]])]
    terms = multicrop_cross_entropy(np.ones((3, 4, 5)), targets, 0.1)
    np.testing.assert_allclose(sum(t.value for t in terms), np.log(5), rtol=1e-6)
    np.testing.assert_allclose(entropy(np.full((3, 5), 0.2)).value, np.log(5), rtol=1e-6)


def test_the_sum_over_pairs_is_the_double_loop():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(3, 5, 7)), rng.dirichlet(np.ones(7), (3, 2))
    log_p = np.asarray(jax.nn.log_softmax(logits.astype(np.float32) / 0.1))
    pairs = [-(targets[:, i] * log_p[:, v]).sum(-1).mean() for i in range(2) for v in range(5) if v != i]
    terms = multicrop_cross_entropy(logits, targets, 0.1)
    np.testing.assert_allclose(sum(t.value for t in terms), np.mean(pairs), rtol=1e-5)


def test_padded_rows_stay_out_of_sinkhorn_whatever_they_hold():
    scores = normal(0, 6, 4)
    for filler in (0.0, 50.0):
        padded = np.concatenate([scores, np.full((2, 4), filler, np.float32)])
        q = np.asarray(sinkhorn(padded, 0.1, 3, valid=np.arange(8) < 6))
        np.testing.assert_allclose(q[:6], sinkhorn(scores, 0.1, 3), rtol=1e-6)
        assert (q[6:] == 0).all()


def test_msn_has_no_cost_for_uneven_use_only_where_use_is_even():
    even = 20 * np.eye(4)[:, None]
    targets = np.eye(4)
    agree, uneven = masked_siamese(even, targets, 0.1)
    np.testing.assert_allclose([agree.value, uneven.value], 0, atol=1e-5)
    _, uneven = masked_siamese(even[:1].repeat(4, axis=0), targets, 0.1)
    np.testing.assert_allclose(uneven.value, np.log(4), rtol=1e-5)
    sharp = sharpened_assignment(normal(0, 8, 4), 0.1, 0.25, 3)
    np.testing.assert_allclose(np.sum(sharp, axis=1), 1, rtol=1e-5)


def test_gram_sees_similarities_and_not_directions():
    x = normal(0, 2, 5, 4)
    turn = np.linalg.qr(normal(1, 4, 4))[0]
    np.testing.assert_allclose(gram_anchoring(3 * x @ turn, x).value, 0, atol=1e-10)
    assert gram_anchoring(x[:, ::-1], x).value > 1e-3
    gradient = jax.jit(jax.grad(lambda t: gram_anchoring(x[:, ::-1], t).value))(x)
    assert (np.asarray(gradient) == 0).all()
