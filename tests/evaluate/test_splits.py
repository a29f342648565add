import hashlib

import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.evaluate.splits import digest, draw, folds, held_out

LABELS = np.repeat(np.arange(4), (10, 21, 35, 50))


def test_every_class_is_spread_evenly_over_the_folds():
    fold = folds(LABELS, 5, seed=0)
    counts = np.stack([np.bincount(fold[c == LABELS], minlength=5) for c in range(4)])
    assert (counts.max(1) - counts.min(1) <= 1).all()
    assert np.ptp(np.bincount(fold)) <= 1


def test_the_same_fraction_of_every_class_is_held_out():
    held = held_out(LABELS, 0.2, seed=0)
    assert [int(held[c == LABELS].sum()) for c in range(4)] == [2, 4, 7, 10]


def test_a_class_is_never_held_out_whole():
    held = held_out(np.array([0, 0, 1]), 0.9, seed=0)
    assert not held[2]
    assert held[:2].sum() == 1


def test_a_draw_has_so_many_of_every_class_and_is_a_pure_function_of_the_seed():
    rows = draw(LABELS, 10, seed=0, number=0)
    assert np.bincount(LABELS[rows]).tolist() == [10] * 4
    assert len(np.unique(rows)) == 40
    np.testing.assert_array_equal(rows, draw(LABELS, 10, seed=0, number=0))
    assert digest(rows) != digest(draw(LABELS, 10, seed=0, number=1))
    assert digest(rows) != digest(draw(LABELS, 10, seed=1, number=0))


def test_splits_depend_on_the_seed():
    assert (folds(LABELS, 5, 0) != folds(LABELS, 5, 1)).any()
    assert (held_out(LABELS, 0.2, 0) != held_out(LABELS, 0.2, 1)).any()


def test_too_few_labels_are_named():
    with pytest.raises(UserError, match=r"class 0 has 10 labels .* shots=11; use at most 10"):
        draw(LABELS, 11, seed=0, number=0)


def test_a_digest_is_that_of_the_ids_whatever_their_type():
    expected = hashlib.sha256(bytes([0] * 8 + [1] + [0] * 7)).hexdigest()[:16]
    assert digest(np.arange(2, dtype=np.int32)) == digest(np.arange(2, dtype=np.int64)) == expected
