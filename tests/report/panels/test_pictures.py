"""Grids of images: every pixel where it belongs, every word on the paper."""

import numpy as np
import pytest

from ssl_jax.data.panels import Pictures
from ssl_jax.report.panels.paper import MARGIN, Tag
from ssl_jax.report.panels.pictures import TILE, draw


def grid(images, captions=(), note="", **options):
    return draw(Pictures(images, captions, note), **options)


def rows(count, columns, height=28, width=28, channels=1):
    return np.random.default_rng(0).random((count, columns, height, width, channels), dtype=np.float32)


def test_small_images_are_enlarged_without_smoothing():
    image = np.zeros((1, 1, 28, 28, 1))
    image[0, 0, 0, 1] = 1.0
    picture = np.asarray(grid(image).convert("L"))[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert picture.shape == (112, 112)
    assert (picture[:4, 4:8] == 255).all()
    assert picture.sum() == 255 * 16


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_becomes_grey_or_colour(channels):
    picture = np.asarray(grid(rows(1, 1, channels=channels)))[MARGIN:-MARGIN, MARGIN:-MARGIN]
    is_grey = (picture == picture[..., :1]).all()
    assert is_grey == (channels < 3)


def test_large_images_are_shrunk():
    assert max(grid(rows(1, 1, 300, 600)).size) <= 2 * TILE + 2 * MARGIN


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (1, 6), (7, 2), (16, 2), (16, 3), (5, 9)])
def test_many_rows_go_into_blocks_of_a_readable_shape(count, columns):
    picture = grid(rows(count, columns), tuple(f"column {k}" for k in range(columns)))
    ink = (np.asarray(picture.convert("L"))[MARGIN:] != 255).any(axis=0)
    assert ink[:MARGIN].sum() == 0, "the margin is empty"
    assert ink.sum() >= columns * 112
    if count * columns > 10:
        assert 0.8 < picture.width / picture.height < 3


def test_captions_marks_and_note_leave_ink():
    bare = grid(np.ones((2, 2, 8, 8, 1)))
    assert (np.asarray(bare) == 255).all()
    for words in (
        {"captions": ("a", "b")},
        {"note": "a note that is far wider than the two small images that it stands under, so that it takes two lines"},
        {"tags": [[Tag("a"), Tag("a name that is too long for its image", "#000000")]] * 2},
    ):
        picture = np.asarray(grid(np.ones((2, 2, 8, 8, 1)), **words))
        ink = (picture != 255).any(axis=-1)
        assert ink.any()
        assert not ink[:, :4].any()
        assert not ink[:, -4:].any()
        assert not ink[-4:].any()


def test_values_outside_the_unit_interval_and_nan_are_drawn():
    picture = np.asarray(grid(np.array([-1.0, 2.0, np.nan]).reshape(1, 3, 1, 1, 1)).convert("L"))
    middle = picture[picture.shape[0] // 2]
    assert [middle[MARGIN + k * 118 + 50] for k in range(3)] == [0, 255, 0]
