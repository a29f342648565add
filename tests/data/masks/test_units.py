"""Masks of units: exact counts, whole units, every unit as often as any other; and one mask of blocks for each picture."""

import jax
import numpy as np
import pytest

from ssl_jax.data.masks.rectangles import one_view, slots_of
from ssl_jax.data.masks.units import UnitMask
from ssl_jax.errors import UserError

KEYS = jax.random.split(jax.random.key(0), 512)


@pytest.mark.parametrize(("grid", "unit", "hidden"), [((14, 14), 2, 30 * 4), ((7, 7), 1, 30), ((12,), 3, 9)])
def test_as_many_units_are_hidden_as_the_ratio_says(grid, unit, hidden):
    masks = np.asarray(jax.jit(UnitMask(grid, 0.6, unit))(KEYS))[:, 0]
    assert UnitMask(grid, 0.6, unit).slots == hidden
    assert (masks.sum(axis=1) == hidden).all()
    assert np.abs(masks.mean(axis=0) - hidden / np.prod(grid)).max() < 0.12  # more than five standard deviations
    whole = masks.reshape(512, *[n for side in grid for n in (side // unit, unit)])
    inside = tuple(range(2, whole.ndim, 2))
    np.testing.assert_array_equal(whole.all(axis=inside), whole.any(axis=inside))


def test_units_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"objective.unit=2 does not divide 7x7 patches"):
        UnitMask((7, 7), 0.6, 2)
    with pytest.raises(UserError, match=r"mask_ratio=0.99 hides 4 of 4 units"):
        UnitMask((2, 2), 0.99)


@pytest.mark.parametrize(("grid", "count", "smallest", "least"), [((14, 14), 75, 16, 70), ((7, 7), 20, 4, 18.5)])
def test_blocks_hide_a_count_of_every_picture_and_seldom_less(grid, count, smallest, least):
    sampler = one_view(grid, count / np.prod(grid), smallest)
    masks = jax.jit(sampler)(KEYS)
    found = np.asarray(masks).sum(axis=2)[:, 0]
    assert sampler.slots == count == found.max()
    assert found.min() > 0
    assert found.mean() > least
    assert (found == count).mean() > 0.5
    slots = slots_of(masks, sampler.slots)
    np.testing.assert_array_equal(slots.valid.sum(axis=1), found)
