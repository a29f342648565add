"""Moving Fashion-MNIST: what a label says can be seen, and only in the order of frames where it is said so."""

import numpy as np
import pytest

from ssl_jax.data.sources import Embedded, MovingFashion
from ssl_jax.data.sources.moving import LABELS, drawn, motion
from ssl_jax.errors import UserError

SOURCE = MovingFashion("probe", background=0.0)


@pytest.fixture(scope="module")
def records():
    return SOURCE.batch(np.arange(600))


def test_a_record_is_a_function_of_its_number(records):
    np.testing.assert_array_equal(SOURCE[7]["clip"], records["clip"][7])
    assert records["clip"].shape == (600, 16, 32, 32, 1)
    for name, classes in LABELS.items():
        np.testing.assert_array_equal(SOURCE.values(name)[:600], records[name])
        share = np.bincount(SOURCE.values(name), minlength=len(classes)) / len(SOURCE)
        assert abs(share * len(classes) - 1).max() < 0.2
    zeros = MovingFashion.example()
    assert {k: (v.shape, v.dtype) for k, v in zeros.items()} == {k: (v.shape, v.dtype) for k, v in SOURCE[0].items()}
    others = (MovingFashion("test"), MovingFashion("probe", seed=1), MovingFashion("probe", label="order"))
    assert len({source.fingerprint() for source in (SOURCE, *others)}) == 4
    assert (others[0][0]["clip"] != SOURCE[0]["clip"]).any()


def test_labels_say_how_both_move(records):
    """The shift from a frame to the fourth after it that fits best, of clips in which nothing bounces in between."""
    draws = SOURCE._draws(np.arange(600))
    place, labels = motion(draws, 16, 32, 14)
    along = np.where(labels["direction"][:, None, None] % 2 == 0, place[:, :, 1], place[:, :, 0])
    across = np.where(labels["direction"][:, None, None] % 2 == 0, place[:, :, 0], place[:, :, 1])
    ways = np.where(labels["direction"] < 2, 1, -1) * np.array([0.25, 0.5, 1.0])[labels["speed"]]
    np.testing.assert_allclose(np.diff(along, axis=-1), np.broadcast_to(ways[:, None, None], (600, 2, 15)), atol=1e-5)
    assert across.min() >= 0
    assert across.max() <= 18
    touched = np.stack([across[:, 0].argmin(-1), across[:, 1].argmax(-1)])  # when the near and the far edge are
    np.testing.assert_array_equal(np.argmin(touched, axis=0), labels["order"])
    assert (abs(touched[0] - touched[1]) >= 3).all()
    # and the pixels: right is to the right
    quick = np.flatnonzero((labels["direction"] == 0) & (labels["speed"] == 2))[:20]
    mass = records["clip"][quick, ..., 0].sum(2).astype(float)  # [clip, frame, column]
    moved = [np.argmax([(np.roll(m[0], shift) * m[8]).sum() for shift in range(32)]) for m in mass]
    assert np.median(moved) == 8


def test_a_clip_played_backwards_has_the_opposite_direction_and_order(records):
    draws = SOURCE._draws(np.arange(40))
    place, labels = motion(draws, 16, 32, 14)
    back = draws.copy()
    back[:, 1] = ((labels["direction"] + 2) % 4 + 0.5) / 4
    back[:, 3] = (1 - labels["order"] + 0.5) / 2
    back[:, 7] = 1 - draws[:, 7]
    along = np.where(labels["direction"] % 2 == 0, 1, 0)
    back[:, 4:6] = place[np.arange(40), :, along, -1] / 32
    mirrored, others = motion(back, 16, 32, 14)
    np.testing.assert_allclose(mirrored[..., ::-1], place, atol=1e-5)
    assert ((others["direction"] - labels["direction"]) % 4 == 2).all()
    assert (others["order"] != labels["order"]).all()


def test_sprites_are_pictures_of_the_garment_and_come_back_on_the_other_side():
    picture = np.pad(Embedded("probe").columns["image"][:2, ..., 0][None], ((0, 0), (0, 0), (0, 1), (0, 1)))
    place = np.zeros((1, 2, 2, 2))
    place[0, :, 1, 1] = 60.0  # the second frame: 60 columns to the right of 64
    frames = drawn(picture, place, 64)[0]
    both = picture[0].max(0)[:28, :28]
    np.testing.assert_array_equal(frames[0, :28, :28], both)
    np.testing.assert_array_equal(frames[1, :28, 60:], both[:, :4])
    np.testing.assert_array_equal(frames[1, :28, :24], both[:, 4:])
    assert frames.sum() == 2 * both.astype(int).sum()


REFUSED = {"label": "colour", "sprite": 10, "size": 14, "frames": 4, "background": 2.0, "split": "x"}


@pytest.mark.parametrize("option", REFUSED)
def test_what_makes_no_sense_is_refused(option):
    with pytest.raises(UserError, match=option):
        MovingFashion(**{option: REFUSED[option]})
