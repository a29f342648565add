"""The small convolutional encoder: what its features are."""

import jax
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.models.conv import ConvNet

IMAGE = jax.random.normal(jax.random.key(0), (3, 28, 28, 1))
SIZES = {"widths": (4, 6), "strides": (4, 2), "kernels": (7, 1), "norm": "none"}


@pytest.fixture(scope="module")
def run():
    variables = ConvNet(**SIZES).init(jax.random.key(1), IMAGE)
    return lambda image=IMAGE, method=None, **options: ConvNet(**SIZES, **options).apply(
        variables, image, method=method
    )


def test_features_are_the_map_flattened_or_the_means_of_its_parts(run):
    grid = run()
    assert grid.shape == (3, 4, 4, 6)
    np.testing.assert_array_equal(run(method="features"), grid.reshape(3, -1))
    np.testing.assert_allclose(run(method="features", pool="mean"), grid.mean((1, 2)), rtol=1e-5)
    quarters = grid.reshape(3, 2, 2, 2, 2, 6).mean((2, 4)).reshape(3, -1)
    np.testing.assert_allclose(run(method="features", pool="mean", cells=2), quarters, rtol=1e-5)


def test_a_map_of_fewer_places_than_cells_keeps_them(run):
    small = IMAGE[:, :8, :8]
    assert run(small, "features", pool="mean", cells=2).shape == (3, 6)


def test_features_of_several_levels_lie_side_by_side(run):
    first, last = run(method="maps")
    assert first.shape == (3, 7, 7, 4)
    both = run(method="features", pool="mean", cells=4, levels=(0, -1))
    np.testing.assert_array_equal(both[:, 64:], last.reshape(3, -1))
    corner = first[:, :2, :2].mean((1, 2))  # the first of 4 x 4 parts of 7 rows is two rows high
    np.testing.assert_allclose(both[:, :4], corner, rtol=1e-5, atol=1e-6)
    assert both.shape == (3, 16 * (4 + 6))


@pytest.mark.parametrize("levels", [(2,), (-3,), ()])
def test_a_level_that_is_not_there_is_refused(run, levels):
    with pytest.raises(UserError, match=r"model.levels=.* 2 layers"):
        run(method="features", levels=levels)


def test_layers_of_unequal_lengths_are_refused():
    with pytest.raises(UserError, match=r"model.widths=.*one of each"):
        ConvNet(widths=(4,), strides=(2, 2), kernels=(3,)).init(jax.random.key(0), IMAGE)
