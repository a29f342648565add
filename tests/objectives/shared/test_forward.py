"""Whose BatchNorm statistics are used, and a queue that turns round."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.heads import ProjectionHead, Prototypes
from ssl_jax.objectives.shared.forward import forward_views, init_variables
from ssl_jax.objectives.shared.queue import check_queue, empty_queue, enqueue, is_full, random_queue

X = jnp.asarray(np.random.default_rng(0).standard_normal((8, 2, 5)) * 3 + 1, jnp.float32)
HEAD = ProjectionHead((), 4, "batch", final_norm=True, final_scale=False)
PARAMS, STATS = init_variables(HEAD, jax.random.key(0), X[:, 0])


def standardized(rows):
    z = rows @ PARAMS["dense_out"]["kernel"]
    return (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)


def test_joint_separate_and_grouped_statistics_are_those_of_the_rows_they_name():
    joint, _ = forward_views(HEAD, PARAMS, STATS, X, bn="joint")
    np.testing.assert_allclose(joint.reshape(16, 4), standardized(X.reshape(16, 5)), atol=1e-4)
    separate, stats = forward_views(HEAD, PARAMS, STATS, X, bn="separate")
    for view in range(2):
        np.testing.assert_allclose(separate[:, view], standardized(X[:, view]), atol=1e-4)
    groups, grouped_stats = forward_views(HEAD, PARAMS, STATS, X, bn=2)
    for view in range(2):
        np.testing.assert_allclose(groups[:4, view], standardized(X[:4, view]), atol=1e-4)
        np.testing.assert_allclose(groups[4:, view], standardized(X[4:, view]), atol=1e-4)
    # Means of equal groups average to the mean of the batch; both rules move the running statistics once a view.
    mean = lambda s: jax.tree.leaves(s)[0]  # noqa: E731
    np.testing.assert_allclose(mean(grouped_stats), mean(stats), atol=1e-5)
    means = [(X[:, v] @ PARAMS["dense_out"]["kernel"]).mean(0) for v in range(2)]
    np.testing.assert_allclose(mean(stats), 0.9 * 0.1 * means[0] + 0.1 * means[1], atol=1e-5)


def test_without_batchnorm_the_rule_does_not_matter():
    head = ProjectionHead((3,), 4, "none")
    params, stats = init_variables(head, jax.random.key(0), X[:, 0])
    joint, none = forward_views(head, params, stats, X, bn="joint")
    np.testing.assert_array_equal(forward_views(head, params, stats, X, bn=4)[0], joint)
    assert stats is None
    assert none is None


def test_biases_and_scales_are_where_the_papers_have_them():
    names = lambda **options: {  # noqa: E731
        "/".join(k.key for k in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(
            init_variables(ProjectionHead((3,), 4, **options), jax.random.key(0), X[:, 0])[0]
        )
    }
    plain = {"dense0/kernel", "dense_out/kernel", "norm0/bn/scale", "norm0/bn/bias"}
    assert names(out_bias=False) == plain
    assert names(final_norm=True, final_scale=False) == plain
    assert names(final_norm=True) == plain | {"norm_out/bn/scale"}
    assert names(bias=True) == plain | {"dense0/bias", "dense_out/bias"}


def test_prototypes_are_unit_vectors_whatever_their_kernel():
    z = jnp.eye(5)
    params = Prototypes(3).init(jax.random.key(0), z)
    scores = Prototypes(3).apply(params, z)
    np.testing.assert_allclose(jnp.linalg.norm(scores, axis=0), 1, rtol=1e-5)
    longer = jax.tree.map(lambda w: 7 * w, params)
    np.testing.assert_allclose(Prototypes(3).apply(longer, z), scores, rtol=1e-5)


def test_a_queue_keeps_the_newest_rows_and_is_full_after_one_turn():
    queue = empty_queue(6, 2)
    for step in range(4):
        assert bool(is_full(queue)) == (step >= 3)
        queue = enqueue(queue, jnp.full((2, 2), float(step)))
    assert queue["rows"][:, 0].tolist() == [3, 3, 1, 1, 2, 2]
    assert int(queue["next"]) == 2
    filled = random_queue(jax.random.key(0), 6, 4)
    assert bool(is_full(filled))
    np.testing.assert_allclose(jnp.linalg.norm(filled["rows"], axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("size", "use"), [(100, "96 or 112"), (8, "16"), (0, "16")])
def test_a_queue_that_is_not_a_multiple_of_the_batch_is_refused(size, use):
    with pytest.raises(UserError, match=f"queue={size} is not a multiple of batch_size=16.*use {use}"):
        check_queue(size, 16)
    check_queue(96, 16)


def test_the_message_on_the_page_about_methods_is_the_real_one():
    page = (Path(__file__).parents[3] / "docs" / "methods.md").read_text()
    with pytest.raises(UserError) as error:
        check_queue(100, 16)
    assert str(error.value) in page
