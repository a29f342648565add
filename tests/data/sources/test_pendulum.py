"""The generated pendulum: repeatable, labelled by what can be seen, split by episode."""

import numpy as np
import pytest

from ssl_jax.data.sources.pendulum import CLASSES, Pendulum, drawn
from ssl_jax.errors import UserError


@pytest.fixture(scope="module")
def probe():
    return Pendulum("test", limit=400)


def test_records_are_stacks_of_frames_with_the_state_they_show(probe):
    record = probe[7]
    assert record["image"].shape == (40, 40, 3)
    assert record["image"].dtype == np.uint8
    assert set(record) == {"image", "state", "label"}
    np.testing.assert_allclose(np.hypot(*record["state"][:2]), 1, rtol=1e-5)
    several = probe.batch(np.array([3, 7]))
    np.testing.assert_array_equal(several["image"][1], record["image"])


def test_labels_are_the_quadrant_and_the_direction_of_turning(probe):
    state, label = probe.columns["state"], probe.columns["label"]
    assert set(label.tolist()) == set(range(8))
    for name, rows in (("down", state[:, 0] > 0.71), ("up", state[:, 0] < -0.71), ("right", state[:, 1] > 0.71)):
        assert {CLASSES[i].split(",")[0] for i in label[rows]} == {name}
    assert {CLASSES[i].split()[-1] for i in label[state[:, 2] > 0]} == {"anticlockwise"}


def test_the_bob_is_drawn_at_its_angle():
    image = drawn(np.array([[0.0, np.pi / 2]]), np.array([[0.0, 1.0]]), 40)[0].astype(float)
    down, right = image[..., 0], image[..., 1]
    rows, columns = np.mgrid[:40, :40]
    assert (down * rows).sum() / down.sum() > 28
    assert abs((down * columns).sum() / down.sum() - 19.5) < 0.1
    assert (right * columns).sum() / right.sum() > 28
    assert down.max() == 255


def test_it_is_repeatable_and_splits_differ(probe):
    assert probe.fingerprint() == Pendulum("test", limit=400).fingerprint()
    assert probe.fingerprint() != Pendulum("probe", limit=400).fingerprint()
    np.testing.assert_array_equal(probe[0]["image"], Pendulum("test")[0]["image"])


@pytest.mark.parametrize("options", [{"split": "train"}, {"size": 4}, {"frames": 0}, {"limit": 0}])
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(UserError):
        Pendulum(**options)
