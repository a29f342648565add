"""Tiles and patches come from where their labels say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.image.pieces import distant_orders, dropped_colours, jittered_tiles, pair_corners
from ssl_jax.data.image.views import ImageViews
from ssl_jax.errors import UserError
from ssl_jax.models.conv import ConvNet
from ssl_jax.objectives.base import Keys, Progress
from ssl_jax.objectives.jigsaw import Jigsaw

KEYS = jax.random.split(jax.random.key(0), 64)
# Every pixel of a 12 x 12 image names its row and column.
PLACES = jnp.asarray(np.stack(np.meshgrid(range(12), range(12), indexing="ij"), axis=-1), jnp.float32)


def test_each_tile_lies_whole_in_its_own_cell_and_moves_with_the_key():
    tiles = np.asarray(jax.jit(jax.vmap(lambda k: jittered_tiles(k, PLACES, 3)))(KEYS))
    assert tiles.shape == (64, 9, 3, 3, 2)
    corners = tiles[:, :, 0, 0]
    assert (tiles[..., 0] - corners[..., None, None, 0] == [[0], [1], [2]]).all()
    assert (tiles[..., 1] - corners[..., None, None, 1] == [0, 1, 2]).all()
    cells = corners // 4
    expected = np.stack(np.meshgrid(range(3), range(3), indexing="ij"), axis=-1).reshape(9, 2)
    np.testing.assert_array_equal(cells, np.broadcast_to(expected, cells.shape))
    assert {tuple(c) for c in (corners % 4).reshape(-1, 2)} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_jigsaw_puts_tile_order_j_in_place_j():
    image = np.zeros((8, 12, 12, 1), np.uint8)
    for tile in range(9):  # one bright pixel in every cell, at a place that names the cell
        row, column = divmod(tile, 3)
        image[:, 4 * row + row, 4 * column + column] = 255
    augment = ImageViews(12, (0.0,), (1.0,), {"image": {}})
    objective = Jigsaw(ConvNet(), augment, permutations=6, tile=4)
    keys = Keys(jax.random.split(jax.random.key(1), 8), jax.random.key(2))
    views = jax.jit(lambda keys: objective.views(keys, {"image": image}, Progress(0, 1)))(keys)
    flat = np.asarray(views["image"]).reshape(8, 9, -1)
    found = flat.argmax(-1) // 4 * 3 + flat.argmax(-1) % 4
    np.testing.assert_array_equal(found, distant_orders(6)[np.asarray(views["label"])])
    np.testing.assert_allclose(flat.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(flat.std(-1), 1, atol=1e-2)
    assert len(set(np.asarray(views["label"]).tolist())) > 2


def test_orders_are_permutations_far_from_each_other():
    orders = distant_orders(12)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(9), (12, 9)))
    apart = (orders[:, None] != orders[None]).sum(-1)[~np.eye(12, dtype=bool)]
    assert apart.min() >= 7
    with pytest.raises(UserError, match="permutations=0"):
        distant_orders(0)


def test_the_neighbour_lies_on_the_side_that_the_label_says():
    keys = jax.random.split(jax.random.key(5), 2048)
    corners, labels = jax.jit(jax.vmap(lambda k: pair_corners(k, (24, 24), 5, 2, 1)))(keys)
    corners, labels = np.asarray(corners), np.asarray(labels)
    assert set(labels.tolist()) == set(range(8))
    np.testing.assert_array_equal(corners.min(axis=(0, 1)), 0)  # a pair lies anywhere, up to every edge
    np.testing.assert_array_equal(corners.max(axis=(0, 1)), 24 - 5)
    step = np.rint((corners[:, 1] - corners[:, 0]) / 7).astype(int)  # jitter is less than half of a patch and its gap
    place = 3 * (step[:, 0] + 1) + step[:, 1] + 1
    np.testing.assert_array_equal(place - (place > 4), labels)
    assert 0 < np.abs(corners[:, 1] - corners[:, 0] - 7 * step).max() <= 2


def test_one_channel_of_a_patch_is_kept_and_the_others_are_faint_noise():
    patches = jax.random.uniform(jax.random.key(3), (40, 6, 6, 3))
    dropped = np.asarray(jax.jit(dropped_colours)(jax.random.key(4), patches))
    kept = (dropped == np.asarray(patches)).all(axis=(1, 2))
    np.testing.assert_array_equal(kept.sum(1), 1)
    assert kept.any(0).all()
    assert np.abs(dropped.transpose(0, 3, 1, 2)[~kept]).max() < 0.05
