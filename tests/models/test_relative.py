"""Relative positions on grids, and what a ViT makes of places: the same as by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.relative import offsets
from ssl_jax.models.vit import ViT

SIZES = {"width": 16, "depth": 3, "heads": 2, "mlp_dim": 24, "patch": 4, "remat": "none"}


@pytest.mark.parametrize(("table", "grid", "prefix"), [((3, 4), (3, 4), 1), ((3, 4), (2, 3), 2), ((5,), (4,), 0)])
def test_offsets_are_those_of_loops(table, grid, prefix):
    found, places = offsets(table, grid, prefix), list(np.ndindex(*grid))
    sides = [2 * n - 1 for n in table]
    for i, query in enumerate(places):
        for j, key in enumerate(places):
            apart = [q - k + n - 1 for q, k, n in zip(query, key, table, strict=True)]
            assert found[prefix + i, prefix + j] == np.ravel_multi_index(apart, sides)
    first = int(np.prod(sides))
    assert set(found[:prefix, prefix:].flat) <= {first}
    assert set(found[prefix:, :prefix].flat) <= {first + 1}
    assert set(found[:prefix, :prefix].flat) <= {first + 2}


@pytest.fixture(scope="module")
def relative():
    model = ViT(**SIZES, positions="relative", grid=(3, 3))
    image = jax.random.normal(jax.random.key(0), (2, 12, 12, 1))
    shapes = jax.eval_shape(model.init, jax.random.key(1), image)["params"]
    rng = np.random.default_rng(0)
    return model, jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes), image


def test_without_the_bias_places_do_not_count_and_with_it_they_do(relative):
    model, params, image = relative
    even = jnp.repeat(jnp.repeat(image[:, ::4, ::4], 4, axis=1), 4, axis=2)  # each patch is its own mirror image
    pooled = jax.jit(lambda p, x: model.apply({"params": p}, x, method="features"))
    difference = lambda p: np.abs(np.asarray(pooled(p, even) - pooled(p, jnp.flip(even, 1)))).max()  # noqa: E731
    assert difference(params) > 1e-2
    assert difference(params | {"relative": jax.tree.map(jnp.zeros_like, params["relative"])}) < 1e-4


def test_a_smaller_image_reads_the_middle_of_the_table_and_a_larger_one_is_refused(relative):
    model, params, _ = relative
    shape = lambda side: jax.ShapeDtypeStruct((2, side, side, 1), "float32")  # noqa: E731
    assert jax.eval_shape(model.apply, {"params": params}, shape(8)).shape == (2, 5, 16)
    with pytest.raises(UserError, match=r"has offsets for 3x3 patches and the image has 4x4; set model.grid"):
        jax.eval_shape(model.apply, {"params": params}, shape(16))
    with pytest.raises(UserError, match="needs all patches of images of one size"):
        jax.eval_shape(model.apply, {"params": params}, shape(12), jnp.zeros((2, 3), int))


def test_places_are_the_patches_and_a_block_is_read_as_the_next_one_is_given_it(relative):
    model, params, image = relative
    hidden, masked = jnp.arange(18).reshape(2, 9) % 4 == 0, {"params": params | {"mask_token": jnp.ones((1, 1, 16))}}

    @jax.jit
    def found(image):
        whole = model.apply(masked, (image[:, None],), (hidden[:, None],), last=2, method="outputs")
        read = model.clone(read_block=2).apply({"params": params}, image, method="features")
        layers = model.apply({"params": params}, image, last=2, method="at_places").layers
        return model.apply(masked, image, hidden, last=2, method="at_places"), whole, read, layers

    places, ((crops,), layers), read, states = found(image)
    np.testing.assert_array_equal(places.tokens, crops[:, 0, 1:])
    np.testing.assert_array_equal(places.layers, layers[:, :, 1:])
    norm = jax.tree.map(lambda x: x[2], params["transformer"]["blocks"]["norm1"])
    centred = states[0] - states[0].mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(read, normed.mean(axis=1), rtol=1e-4, atol=1e-5)
