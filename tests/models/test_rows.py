"""The layers on rows are Flax's: same parameters, same value, same gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import drawn, normal
from flax import linen as nn

from ssl_jax.devices.compiler import compiling_for
from ssl_jax.models.rows import Dense, LayerNorm, gelu, sum_rows
from ssl_jax.models.transformer import REMAT_POLICIES
from ssl_jax.plan.flops import flops
from ssl_jax.plan.graph import graph_of


def value_and_gradients(layer, shape, dtype="float32"):
    x = normal(0, *shape).astype(dtype)
    params = drawn(layer.init, jax.random.key(1), x)

    def loss(params, x):
        return jnp.sum(jnp.sin(layer.apply(params, x).astype(jnp.float32)))

    return params, jax.value_and_grad(loss, (0, 1))(params, x)


def assert_the_same(one, other, shape, dtype="float32", tolerance=1e-5):
    """Two layers; one program for both."""
    ours, theirs = jax.jit(lambda: [value_and_gradients(layer, shape, dtype) for layer in (one, other)])()
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert [x.dtype for x in jax.tree.leaves(ours)] == [x.dtype for x in jax.tree.leaves(theirs)]

    def same(a, b):
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=tolerance, atol=tolerance)

    jax.tree.map(same, ours, theirs)


@pytest.mark.parametrize(
    ("shape", "features", "axes"),
    [((2, 3, 4), 5, 1), ((2, 3, 4), (3, 2, 5), 1), ((2, 3, 2, 4), 5, 2), ((3, 4), (2, 5), 1), ((4,), 5, 1)],
)
def test_dense_is_flax_dense_general(shape, features, axes):
    theirs = nn.DenseGeneral(features, axis=tuple(range(-axes, 0)))
    assert_the_same(Dense(features, axes), theirs, shape)


@pytest.mark.parametrize("shape", [(2, 3, 8), (5, 8)])
@pytest.mark.parametrize("epsilon", [1e-6, 1e-1])
def test_layer_norm_is_flax_layer_norm(shape, epsilon):
    theirs = nn.LayerNorm(epsilon, use_fast_variance=False)
    assert_the_same(LayerNorm(epsilon), theirs, shape)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Dense(5, dtype="bfloat16"), nn.DenseGeneral(5, dtype="bfloat16")),
        (LayerNorm(dtype="bfloat16"), nn.LayerNorm(1e-6, dtype="bfloat16", use_fast_variance=False)),
    ],
)
def test_in_bfloat16_too(ours, theirs):
    assert_the_same(ours, theirs, (2, 3, 8), "bfloat16", 0.05)


def test_the_statistics_of_bfloat16_are_float32():
    x = 1000 + normal(0, 4, 64)
    layer = LayerNorm(dtype="bfloat16")
    out = jax.jit(lambda: layer.init_with_output(jax.random.key(1), x)[0])()
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(out).std(axis=1), 1, atol=0.02)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_rows_are_summed_in_float32_on_every_platform(platform):
    x = np.concatenate([np.full((1, 3), 256.0), np.ones((1000, 3))]).astype(jnp.bfloat16)
    with compiling_for(platform):
        total = jax.jit(sum_rows)(x)
    assert total.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(total), np.float32(jnp.bfloat16(1256)))


@pytest.mark.parametrize(("remat", "products"), [("none", 3), ("dots", 3), ("full", 4)])
def test_recomputation_policies_see_the_products(remat, products):
    layer, x = Dense(5), jnp.ones((3, 4))
    params = drawn(layer.init, jax.random.key(0), x)

    def loss(params, x):
        return jnp.sum(jnp.sin(layer.apply(params, x)))  # the sine's gradient needs the product again

    step = loss if remat == "none" else jax.checkpoint(loss, policy=REMAT_POLICIES[remat])
    counted = flops(graph_of(jax.make_jaxpr(jax.value_and_grad(step, (0, 1)))(params, x)))
    assert counted == products * 2 * 3 * 4 * 5


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 0.02)])
def test_gelu_is_x_times_the_normal_distribution_function(dtype, tolerance):
    x = np.linspace(-9, 9, 181).astype(dtype)
    exact = np.float64(x)
    cdf = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in exact])
    density = np.exp(-(exact**2) / 2) / math.sqrt(2 * math.pi)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(gelu)))(x)
    assert value.dtype == slope.dtype == x.dtype
    np.testing.assert_allclose(np.float64(value), exact * cdf, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(np.float64(slope), cdf + exact * density, rtol=tolerance, atol=tolerance)


def test_gelu_keeps_its_input_alone():
    x = jnp.linspace(-1, 1, 7)
    kept = [y for y in jax.tree.leaves(jax.vjp(gelu, x)[1]) if y.shape == x.shape]
    assert len(kept) == 1
    np.testing.assert_array_equal(kept[0], x)
