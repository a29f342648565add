"""Grids of images: every pixel where it belongs, every word on the paper."""

import numpy as np
import pytest

from ssl_jax.report.panels import tiles


def rows(count, columns, height=28, width=28, channels=1):
    return np.random.default_rng(0).random((count, columns, height, width, channels), dtype=np.float32)


def test_small_images_are_enlarged_without_smoothing():
    image = np.zeros((1, 1, 28, 28, 1))
    image[0, 0, 0, 1] = 1.0
    picture = np.asarray(tiles.grid(image).convert("L"))[tiles.MARGIN : -tiles.MARGIN, tiles.MARGIN : -tiles.MARGIN]
    assert picture.shape == (112, 112)
    assert (picture[:4, 4:8] == 255).all()
    assert picture.sum() == 255 * 16


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_becomes_grey_or_colour(channels):
    picture = np.asarray(tiles.grid(rows(1, 1, channels=channels)))[
        tiles.MARGIN : -tiles.MARGIN, tiles.MARGIN : -tiles.MARGIN
    ]
    is_grey = (picture == picture[..., :1]).all()
    assert is_grey == (channels < 3)


def test_large_images_are_shrunk():
    assert max(tiles.grid(rows(1, 1, 300, 600)).size) <= 2 * tiles.TILE + 2 * tiles.MARGIN


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (1, 6), (7, 2), (16, 2), (16, 3), (5, 9)])
def test_many_rows_go_into_blocks_of_a_readable_shape(count, columns):
    picture = tiles.grid(rows(count, columns), tuple(f"column {k}" for k in range(columns)))
    ink = (np.asarray(picture.convert("L"))[tiles.MARGIN :] != 255).any(axis=0)
    assert ink[: tiles.MARGIN].sum() == 0, "the margin is empty"
    assert ink.sum() >= columns * 112
    if count * columns > 10:
        assert 0.8 < picture.width / picture.height < 3


def test_captions_marks_and_note_leave_ink():
    bare = tiles.grid(np.ones((2, 2, 8, 8, 1)))
    assert (np.asarray(bare) == 255).all()
    for words in (
        {"captions": ("a", "b")},
        {"note": "a note that is far wider than the two small images that it stands under, so that it takes two lines"},
        {"marks": [["a", "a name that is too long for its image"]] * 2, "colours": [["#000000"] * 2] * 2},
    ):
        picture = np.asarray(tiles.grid(np.ones((2, 2, 8, 8, 1)), **words))
        ink = (picture != 255).any(axis=-1)
        assert ink.any()
        assert not ink[:, :4].any()
        assert not ink[:, -4:].any()
        assert not ink[-4:].any()


def test_values_outside_the_unit_interval_and_nan_are_drawn():
    picture = np.asarray(tiles.grid(np.array([-1.0, 2.0, np.nan]).reshape(1, 3, 1, 1, 1)).convert("L"))
    middle = picture[picture.shape[0] // 2]
    assert [middle[tiles.MARGIN + k * 118 + 50] for k in range(3)] == [0, 255, 0]
