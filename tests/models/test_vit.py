"""ViTs: published sizes, dropped tokens, padding, scan and remat, bfloat16."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import drawn, normal

from ssl_jax.errors import UserError
from ssl_jax.models.grid import cell_means, patchify, sincos, unpatchify
from ssl_jax.models.transformer import rescale_residuals
from ssl_jax.models.vit import ViT, vit

SMALL = {"width": 16, "depth": 2, "heads": 2, "mlp_dim": 32, "patch": 4}


IMAGE = normal(1, 2, 16, 16, 1)


@cache
def init(model):
    """Variables of the right shapes."""
    return drawn(model.init, jax.random.key(0), IMAGE)


@pytest.mark.parametrize(
    ("variant", "patch", "parameters"),
    [
        ("Ti", 16, 5_524_416),
        ("S", 16, 21_665_664),
        ("B", 16, 85_798_656),
        ("L", 16, 303_301_632),
        ("H", 14, 630_764_800),
    ],
)
def test_parameter_counts_are_the_published_ones(variant, patch, parameters):
    model = vit(variant, patch=patch, positions="learned")
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
    assert sum(np.prod(x.shape) for x in jax.tree.leaves(params)) == parameters


def test_patchify_and_back_is_the_identity_and_channel_is_fastest():
    patches = patchify(jnp.asarray(IMAGE), 4)
    np.testing.assert_array_equal(unpatchify(patches, 4, (4, 4)), IMAGE)
    colour = jnp.arange(2 * 2 * 3.0).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(patchify(colour, 2)[0, 0], np.arange(12))


def test_sincos_puts_the_column_code_first():
    table = sincos(8, (2, 3)).reshape(2, 3, 8)
    np.testing.assert_array_equal(table[0, :, :4], table[1, :, :4])
    np.testing.assert_array_equal(table[:, 0, 4:], table[:, 2, 4:])
    np.testing.assert_allclose(table[0, 1, :4], [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)])


def test_keeping_every_token_in_another_order_permutes_the_output():
    model = ViT(**SMALL, registers=2)
    variables = init(model)
    keep = np.stack([np.random.default_rng(i).permutation(16) for i in range(2)])
    whole, permuted = jax.jit(lambda v: (model.apply(v, IMAGE), model.apply(v, IMAGE, keep)))(variables)
    assert whole.shape == (2, 3 + 16, 16)
    whole = np.asarray(whole)
    expected = np.concatenate([whole[:, :3], np.take_along_axis(whole[:, 3:], keep[..., None], 1)], axis=1)
    np.testing.assert_allclose(permuted, expected, atol=1e-5)


def test_padding_does_not_touch_valid_tokens():
    model = ViT(**SMALL)
    variables = init(model)
    keep = np.array([[3, 7, 9], [0, 1, 2]])
    padded = np.concatenate([keep, np.array([[5, 5], [8, 15]])], axis=1)
    valid = np.broadcast_to(np.arange(5) < 3, (2, 5))
    run = jax.jit(lambda v: (model.apply(v, IMAGE, padded, valid)[:, :4], model.apply(v, IMAGE, keep)))
    np.testing.assert_allclose(*run(variables), atol=1e-5)


@cache
def gradient(model):
    return jax.jit(jax.grad(lambda v: (model.apply(v, IMAGE) ** 2).sum()))(init(ViT(**SMALL, remat="none")))


@pytest.mark.parametrize("options", [{"remat": "full"}, {"remat": "dots"}, {"remat": "offload"}, {"unroll": 2}])
def test_remat_and_unroll_change_neither_parameters_nor_gradients(options):
    plain, other = ViT(**SMALL, remat="none"), ViT(**SMALL, **options)
    assert jax.tree.structure(init(plain)) == jax.tree.structure(init(other))
    for a, b in zip(jax.tree.leaves(gradient(plain)), jax.tree.leaves(gradient(other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_bfloat16_computes_in_bfloat16_on_float32_parameters_with_float32_softmax():
    model = ViT(**SMALL, dtype="bfloat16")
    variables = init(model)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

    @jax.jit
    def run(v):
        return model.apply(v, IMAGE), model.apply(v, IMAGE, method="features"), ViT(**SMALL).apply(v, IMAGE)

    tokens, features, full = run(variables)
    assert tokens.dtype == jnp.bfloat16
    assert features.dtype == jnp.float32
    jaxpr = str(jax.make_jaxpr(lambda v: model.apply(v, IMAGE))(variables))
    exponentials = [line for line in jaxpr.splitlines() if " exp " in line]
    assert exponentials
    assert all(":f32[" in line for line in exponentials)
    np.testing.assert_allclose(np.float32(tokens), full, atol=0.1)


def test_rescaled_residuals_shrink_with_depth():
    params = init(ViT(**SMALL))["params"]
    scaled = rescale_residuals(params)
    before, after = (p["transformer"]["blocks"]["fc2"]["kernel"] for p in (params, scaled))
    np.testing.assert_allclose(after[0], before[0] / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(after[1], before[1] / 2, rtol=1e-6)
    same = scaled["transformer"]["blocks"]["fc1"]["kernel"]
    np.testing.assert_array_equal(same, params["transformer"]["blocks"]["fc1"]["kernel"])


def test_pooling_names_what_probes_see():
    @jax.jit
    def run(v):
        pooled = [ViT(**SMALL, pool=pool).apply(v, IMAGE, method="features") for pool in ("mean", "class")]
        return ViT(**SMALL).apply(v, IMAGE), *pooled

    tokens, mean, first = map(np.asarray, run(init(ViT(**SMALL))))
    np.testing.assert_allclose(mean, tokens[:, 1:].mean(1), atol=1e-6)
    np.testing.assert_array_equal(first, tokens[:, 0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pool": "class", "class_token": False}, "class_token=True"),
        ({"pool": "max"}, "pool='max'"),
        ({"positions": "rotary"}, "positions='rotary'"),
        ({"patch": 5}, "16x16 is not divisible by the patch size 5; use a size of 15 or 20"),
        ({"heads": 3}, "width 16 is not divisible by heads=3"),
        ({"remat": "some"}, "remat='some'"),
    ],
)
def test_bad_options_are_refused_with_value_and_remedy(options, words):
    with pytest.raises(UserError, match=words):
        init(ViT(**(SMALL | options)))


def test_features_of_cells_are_means_over_parts_of_the_image():
    model = ViT(**SMALL, cells=2)
    variables = init(model)
    tokens, features = jax.jit(lambda v: (model.apply(v, IMAGE), model.apply(v, IMAGE, method="features")))(variables)
    tokens = np.asarray(tokens)[:, 1:].reshape(2, 2, 2, 2, 2, -1)  # rows: part, place; columns too
    parts = tokens.mean((2, 4)).reshape(2, -1)
    np.testing.assert_allclose(features, parts, rtol=1e-5, atol=1e-6)


def test_cells_of_an_uneven_grid_cover_every_patch_once():
    rows = jnp.broadcast_to(jnp.arange(7.0)[:, None], (7, 7)).reshape(1, 49, 1)
    means = cell_means(rows, (7, 7), 3).reshape(3, 3)
    np.testing.assert_allclose(means, np.broadcast_to(np.array([[1.0], [3.5], [5.5]]), (3, 3)))  # rows 012, 34, 56


def test_more_cells_than_patches_are_refused():
    with pytest.raises(UserError, match=r"model.cells=5 does not fit 4x4 patches; use 1 to 4"):
        drawn(ViT(**SMALL, cells=5).init, jax.random.key(0), IMAGE, method="features")
