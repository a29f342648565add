"""Grids of one to three axes: known answers, one axis inside two and two inside three, and what does not fit."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.conv import ConvNet
from ssl_jax.models.grid import (
    cell_means,
    centres,
    grid_of,
    patch_length,
    patchify,
    places,
    resize_tokens,
    rope,
    sequence,
    sincos,
    unpatchify,
)  # fmt: skip
from ssl_jax.models.vit import ViT

SMALL = {"width": 24, "depth": 1, "heads": 2, "mlp_dim": 8, "remat": "none"}
DATA = np.random.default_rng(0).normal(size=(2, 4, 6, 8, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("array", "patch", "grid"),
    [
        (DATA[:, :, 0, 0], (2,), (2,)),
        (DATA[:, 0], 2, (3, 4)),
        (DATA[:, 0], (3, 4), (2, 2)),
        (DATA, (2, 3, 4), (2, 2, 2)),
    ],
)
def test_patches_come_back_in_their_places(array, patch, grid):
    assert grid_of(array.shape, patch) == grid
    patches = patchify(jnp.asarray(array), patch)
    assert patches.shape == (2, math.prod(grid), patch_length(patch, 3))
    np.testing.assert_array_equal(unpatchify(patches, patch, grid), array)
    side = np.array((patch, patch) if isinstance(patch, int) else patch)
    first, last = (
        tuple(slice(a, b) for a, b in zip(p * side, (p + 1) * side, strict=True)) for p in places(grid)[[0, -1]]
    )
    np.testing.assert_array_equal(patches[1, 0], array[(1, *first)].reshape(-1))
    np.testing.assert_array_equal(patches[1, -1], array[(1, *last)].reshape(-1))


def test_a_series_is_a_picture_of_one_column_and_a_picture_a_clip_of_one_frame():
    series, picture = jnp.asarray(DATA[:, :, 0, 0]), jnp.asarray(DATA[:, 0])
    np.testing.assert_array_equal(patchify(series, (2,)), patchify(series[:, :, None], (2, 1)))
    np.testing.assert_array_equal(patchify(picture, (3, 4)), patchify(picture[:, None], (1, 3, 4)))
    tokens = jnp.asarray(DATA.reshape(2, -1, 3))[:, :12]
    np.testing.assert_array_equal(resize_tokens(tokens, (12,), (5,)), resize_tokens(tokens, (12, 1), (5, 1)))
    np.testing.assert_allclose(
        resize_tokens(tokens, (3, 4), (2, 5)), resize_tokens(tokens, (1, 3, 4), (1, 2, 5)), atol=1e-6
    )
    np.testing.assert_array_equal(cell_means(tokens, (12,), 4), cell_means(tokens, (12, 1), (4, 1)))
    np.testing.assert_array_equal(cell_means(tokens, (3, 4), 2), cell_means(tokens, (1, 3, 4), (1, 2, 2)))


def test_every_axis_has_its_code():
    column_of_picture, row_of_picture = np.split(sincos(16, (3, 4)), 2, axis=1)
    np.testing.assert_array_equal(row_of_picture.reshape(3, 4, 8)[:, 1], sincos(8, (3,)))
    np.testing.assert_array_equal(column_of_picture.reshape(3, 4, 8)[1], sincos(8, (4,)))
    time, row, column = np.split(sincos(24, (2, 3, 4)), 3, axis=1)  # a clip has time, row, column
    np.testing.assert_array_equal(time.reshape(2, 12, 8)[:, 5], sincos(8, (2,)))
    np.testing.assert_array_equal(row.reshape(2, 12, 8)[1], row_of_picture)
    np.testing.assert_array_equal(column.reshape(2, 12, 8)[1], column_of_picture)
    np.testing.assert_array_equal(sincos(20, (2, 3, 4)), sincos(24, (2, 3, 4))[:, :20])  # three codes of 8, cut
    turns = sequence(4, (2, 3))[5]
    np.testing.assert_allclose(turns, [np.sin(5), np.cos(5), np.sin(0.05), np.cos(0.05)])


def test_rotary_angles_are_those_of_each_axis_and_the_rest_stays():
    cos, sin = rope(14, places((2, 3, 4)), 10000.0)  # two angles an axis in each half of 7, and one number at rest
    np.testing.assert_allclose(sin[23], np.sin([1, 0.01, 2, 0.02, 3, 0.03, 0] * 2), rtol=1e-6)
    np.testing.assert_array_equal(cos[:, [6, 13]], 1)
    _, tiled = rope(
        14, places((2, 3, 4)), 10000.0, tiled=True
    )  # numbers 0, 2 of four have the first angle; 1, 3 the other
    np.testing.assert_allclose(
        tiled[23], np.sin([1, 1, 2, 2, 3, 3, 0, 0.01, 0.01, 0.02, 0.02, 0.03, 0.03, 0]), rtol=1e-6
    )
    np.testing.assert_allclose(centres((2, 1))[:, 0] / (2 * np.pi), [-0.5, 0.5])
    for ours, theirs in zip(rope(8, centres((5,)), 100.0), rope(16, centres((5, 1)), 100.0), strict=True):
        np.testing.assert_allclose(ours, theirs.reshape(5, 2, 2, 4)[:, :, 0].reshape(5, 8), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: grid_of((2, 5, 16, 20, 3), (2, 16, 16)),
         "clip size 5x16x20 is not divisible by the patch size 2x16x16; use a size of 4x16x16 or 6x16x32, or another patch"),
        (lambda: grid_of((2, 100, 1), (16,)), "series size 100 is not divisible by the patch size 16; use a size of 96 or 112,"),
        (lambda: grid_of((8, 3), (2, 2)), r"model.patch=\(2, 2\) has 2 axes; an array 8x3 has 1"),
        (lambda: sincos(6, (2, 2)), "sin-cos positions need a width divisible by 4, got 6"),
        (lambda: rope(7, places((2, 2, 2)), 1.0), "head width divisible by 2, got 7"),
        (lambda: cell_means(jnp.zeros((1, 8, 2)), (2, 2, 2), 3), "model.cells=3 does not fit 2x2x2 patches; use 1 to 2"),
        (lambda: ViT(patch=(2, 4, 4)).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))),
         r"model.patch=\(2, 4, 4\) is for 3 axes \(clip\) and the input has 2; .* model.patch=\(16, 16\)"),
        (lambda: ViT(patch=(2, 2, 2, 2)), "one to three axes"),
        (lambda: ViT(patch=4, positions="rope", drop_path=0.1, drop_path_mode="subset").init(
            jax.random.key(0), jnp.zeros((1, 8, 8, 1)), jnp.zeros((1, 2), int)), "use drop_path_mode=linear"),
        (lambda: ViT(rope_places="corners"), "rope_places='corners' is unknown; use one of centres, indices"),
        (lambda: ConvNet(kernels=((3, 3),) * 3).init(jax.random.key(0), jnp.zeros((1, 8, 1))),
         "is for 2 axes and the input has 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_value_and_remedy(call, words):
    with pytest.raises(UserError, match=words):
        call()


@pytest.mark.parametrize(
    ("array", "patch"),
    [(DATA[:, :, 0, 0], (1,)), (DATA[:, 0], (3, 2)), (DATA, (2, 3, 4))],
    ids=["series", "picture", "clip"],
)
@pytest.mark.parametrize("positions", ["sincos", "learned", "rope"])
def test_dropped_tokens_crops_and_features_have_their_shapes_on_any_axes(array, patch, positions):
    count = math.prod(grid_of(array.shape, patch))
    model = ViT(**SMALL, patch=patch, positions=positions, registers=1, grid=grid_of(array.shape, patch), cells=2)

    def run():
        small = jnp.asarray(array)[:, None, *(slice(0, 2 * p) for p in patch)]  # crops of another size
        crops, variables = model.init_with_output(
            jax.random.key(0), (jnp.asarray(array)[:, None], small), method="crops"
        )
        kept = model.apply(variables, array, jnp.zeros((2, 2), int))
        return *crops, kept, model.apply(variables, array, method="features")

    shapes = [x.shape for x in jax.eval_shape(run)]
    axes = len(patch)
    assert shapes == [(2, 1, 2 + count, 24), (2, 1, 2 + 2**axes, 24), (2, 4, 24), (2, 2**axes * 24)]


@pytest.mark.parametrize(
    ("array", "kernel", "stride"), [(DATA[:, :, 0, 0], 3, 2), (DATA[:, 0], (3, 5), (1, 2)), (DATA, (1, 3, 3), 2)]
)
def test_convolutions_go_over_any_axes(array, kernel, stride):
    model = ConvNet(widths=(4,), strides=(stride,), kernels=(kernel,), norm="none", pool="mean", cells=2)
    run = lambda: model.init_with_output(jax.random.key(0), array)  # noqa: E731
    out, variables = jax.eval_shape(run)
    axes = array.ndim - 2
    strides, kernels = (x if isinstance(x, tuple) else (x,) * axes for x in (stride, kernel))
    assert out.shape == (2, *(-(-n // s) for n, s in zip(array.shape[1:-1], strides, strict=True)), 4)
    assert variables["params"]["conv0"]["kernel"].shape == (*kernels, 3, 4)
    features = jax.eval_shape(lambda v: model.apply(v, array, method="features"), variables)
    assert features.shape == (2, 4 * min(2, *out.shape[1:-1]) ** axes)
