"""ViTs: published sizes, dropped tokens, padding, scan and remat, bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.grid import cell_means, patchify, sincos, unpatchify
from ssl_jax.models.transformer import rescale_residuals
from ssl_jax.models.vit import ViT, vit

SMALL = {"width": 16, "depth": 2, "heads": 2, "mlp_dim": 32, "patch": 4}


@pytest.fixture(scope="module")
def image():
    return jax.random.normal(jax.random.key(1), (2, 16, 16, 1))


def init(model, image):
    return model.init(jax.random.key(0), image)


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


def test_patchify_and_back_is_the_identity_and_channel_is_fastest(image):
    patches = patchify(image, 4)
    np.testing.assert_array_equal(unpatchify(patches, 4, (4, 4)), image)
    colour = jnp.arange(2 * 2 * 3.0).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(patchify(colour, 2)[0, 0], np.arange(12))


def test_sincos_puts_the_column_code_first():
    table = sincos(8, (2, 3)).reshape(2, 3, 8)
    np.testing.assert_array_equal(table[0, :, :4], table[1, :, :4])
    np.testing.assert_array_equal(table[:, 0, 4:], table[:, 2, 4:])
    np.testing.assert_allclose(table[0, 1, :4], [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)])


def test_keeping_every_token_in_another_order_permutes_the_output(image):
    model = ViT(**SMALL, registers=2)
    variables = init(model, image)
    keep = jnp.stack([jax.random.permutation(jax.random.key(i), 16) for i in range(2)])
    whole = model.apply(variables, image)
    assert whole.shape == (2, 3 + 16, 16)
    permuted = model.apply(variables, image, keep)
    expected = jnp.concatenate([whole[:, :3], jnp.take_along_axis(whole[:, 3:], keep[..., None], 1)], axis=1)
    np.testing.assert_allclose(permuted, expected, atol=1e-5)


def test_padding_does_not_touch_valid_tokens(image):
    model = ViT(**SMALL)
    variables = init(model, image)
    keep = jnp.array([[3, 7, 9], [0, 1, 2]])
    padded = jnp.concatenate([keep, jnp.array([[5, 5], [8, 15]])], axis=1)
    valid = jnp.arange(5)[None] < jnp.full((2, 1), 3)
    np.testing.assert_allclose(
        model.apply(variables, image, padded, valid)[:, :4], model.apply(variables, image, keep), atol=1e-5
    )


@pytest.mark.parametrize("options", [{"remat": "full"}, {"remat": "dots"}, {"remat": "offload"}, {"unroll": 2}])
def test_remat_and_unroll_change_neither_parameters_nor_gradients(image, options):
    plain, other = ViT(**SMALL, remat="none"), ViT(**SMALL, **options)
    variables = init(plain, image)
    gradient = lambda m: jax.jit(jax.grad(lambda v: (m.apply(v, image) ** 2).sum()))(variables)  # noqa: E731
    assert jax.tree.structure(variables) == jax.tree.structure(init(other, image))
    for a, b in zip(jax.tree.leaves(gradient(plain)), jax.tree.leaves(gradient(other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_bfloat16_computes_in_bfloat16_on_float32_parameters_with_float32_softmax(image):
    model = ViT(**SMALL, dtype="bfloat16")
    variables = init(model, image)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert model.apply(variables, image).dtype == jnp.bfloat16
    assert model.apply(variables, image, method="features").dtype == jnp.float32
    jaxpr = str(jax.make_jaxpr(lambda v: model.apply(v, image))(variables))
    exponentials = [line for line in jaxpr.splitlines() if " exp " in line]
    assert exponentials
    assert all(":f32[" in line for line in exponentials)
    full = ViT(**SMALL).apply(variables, image)
    np.testing.assert_allclose(model.apply(variables, image).astype(jnp.float32), full, atol=0.1)


def test_rescaled_residuals_shrink_with_depth(image):
    params = init(ViT(**SMALL), image)["params"]
    scaled = rescale_residuals(params)
    before, after = (p["transformer"]["blocks"]["fc2"]["kernel"] for p in (params, scaled))
    np.testing.assert_allclose(after[0], before[0] / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(after[1], before[1] / 2, rtol=1e-6)
    same = scaled["transformer"]["blocks"]["fc1"]["kernel"]
    np.testing.assert_array_equal(same, params["transformer"]["blocks"]["fc1"]["kernel"])


def test_pooling_names_what_probes_see(image):
    variables = init(ViT(**SMALL), image)
    tokens = ViT(**SMALL).apply(variables, image)
    np.testing.assert_allclose(
        ViT(**SMALL, pool="mean").apply(variables, image, method="features"), tokens[:, 1:].mean(1), atol=1e-6
    )
    np.testing.assert_array_equal(ViT(**SMALL, pool="class").apply(variables, image, method="features"), tokens[:, 0])


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
def test_bad_options_are_refused_with_value_and_remedy(image, options, words):
    with pytest.raises(UserError, match=words):
        init(ViT(**(SMALL | options)), image)


def test_features_of_cells_are_means_over_parts_of_the_image(image):
    model = ViT(**SMALL, cells=2)
    variables = init(model, image)
    tokens = np.asarray(model.apply(variables, image))[:, 1:].reshape(
        2, 2, 2, 2, 2, -1
    )  # rows: part, place; columns too
    parts = tokens.mean((2, 4)).reshape(2, -1)
    np.testing.assert_allclose(model.apply(variables, image, method="features"), parts, rtol=1e-5, atol=1e-6)


def test_cells_of_an_uneven_grid_cover_every_patch_once():
    rows = jnp.broadcast_to(jnp.arange(7.0)[:, None], (7, 7)).reshape(1, 49, 1)
    means = cell_means(rows, (7, 7), 3).reshape(3, 3)
    np.testing.assert_allclose(means, np.broadcast_to(np.array([[1.0], [3.5], [5.5]]), (3, 3)))  # rows 012, 34, 56


def test_more_cells_than_patches_are_refused(image):
    with pytest.raises(UserError, match=r"model.cells=5 does not fit 4x4 patches; use 1 to 4"):
        ViT(**SMALL, cells=5).init(jax.random.key(0), image, method="features")
