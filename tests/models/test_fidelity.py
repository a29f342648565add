"""What the authors' code does around the step, of which ours once differed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.masks.multi_block import MultiBlock
from ssl_jax.models.grid import resize_tokens, sincos
from ssl_jax.models.norm import Norm
from ssl_jax.models.prototype_head import PrototypeHead
from ssl_jax.models.vit import INTERPOLATION_OFFSET, ViT
from ssl_jax.optim.param_rules import NO_DECAY, matches


def test_layer_scale_does_not_decay():
    assert matches(NO_DECAY, "encoder/transformer/blocks/layer_scale1")
    assert matches(NO_DECAY, "encoder/transformer/blocks/layer_scale2")
    assert not matches(NO_DECAY, "encoder/transformer/blocks/fc1/kernel")


@pytest.mark.parametrize(("last_layer", "length"), [("weight_norm", 3**-0.5), ("linear", 0.02 * 64**0.5)])
def test_prototypes_start_as_long_as_the_authors(last_layer, length):
    """torch's linear layers are uniform within 1/sqrt(inputs): rows of length 1/sqrt(3), whatever the inputs."""
    head = PrototypeHead(512, 32, 64, last_layer=last_layer)
    kernel = head.init(jax.random.key(0), jnp.ones((1, 16)))["params"]["prototypes"]
    np.testing.assert_allclose(jnp.linalg.norm(kernel, axis=0).mean(), length, rtol=0.02)


def test_small_crops_have_the_codes_of_the_whole_picture():
    """Not those of its corner."""
    vit = ViT(width=16, depth=1, heads=2, mlp_dim=8, patch=4, class_token=False)
    small, whole = vit._position_tables([(6, 6), (3, 3)])[::-1]
    np.testing.assert_allclose(whole, sincos(16, (6, 6)), atol=1e-6)
    expected = resize_tokens(jnp.asarray(sincos(16, (6, 6))), (6, 6), (3, 3), INTERPOLATION_OFFSET)
    np.testing.assert_allclose(small, expected, atol=1e-6)


def test_normal_weights_have_the_deviation_that_they_are_named_for():
    vit = ViT(width=64, depth=1, heads=2, mlp_dim=256, patch=4, initializer="normal")
    kernel = jax.jit(vit.init)(jax.random.key(0), jnp.ones((1, 8, 8, 3)))["params"]["transformer"]["blocks"]["fc1"][
        "kernel"
    ]
    assert float(kernel.std()) == pytest.approx(0.02, rel=0.02)


def test_the_running_variance_is_of_the_unbiased_one():
    """As torch's BatchNorm, whose running variance after one batch is 0.9 + 0.1 x the sample variance."""
    x = np.random.default_rng(0).normal(2, 3, (6, 4)).astype(np.float32)
    norm = Norm()
    variables = norm.init(jax.random.key(0), x, train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["bn"]["var"], 1)
    out, moved = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(moved["batch_stats"]["bn"]["var"], 0.9 + 0.1 * x.var(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(out, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), atol=1e-5)


def test_a_batch_has_one_of_the_named_context_sizes():
    masks = MultiBlock((7, 7), min_keep=4, context_sizes=(5, 12))
    keys = jax.random.split(jax.random.key(0), 32)
    counts = {int(masks(keys, jax.random.key(i)).context_valid.sum(axis=1).max()) for i in range(12)}
    assert counts == {5, 12}
    assert masks(keys, jax.random.key(0)).context.shape == (32, 12)
