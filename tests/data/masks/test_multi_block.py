"""Masks: exact counts, static shapes, the published sampler's habits, and its traps."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.masks.multi_block import MultiBlock
from ssl_jax.data.masks.noise import random_keep, tube_keep
from ssl_jax.errors import UserError


@functools.cache
def sampler(masking):
    return jax.jit(masking.__call__)


def draw(masking, examples=64, step=0):
    keys = jax.random.split(jax.random.key(7), examples)
    return jax.tree.map(np.asarray, sampler(masking)(keys, jax.random.key(step)))


def covered(index, valid, count):
    grid = np.zeros((len(index), count), bool)
    rows = np.broadcast_to(np.arange(len(index)).reshape(-1, *[1] * (index.ndim - 1)), index.shape)
    grid[rows[valid], index[valid]] = True
    return grid


def test_random_keep_removes_the_ratio_exactly_and_restores_the_order():
    noise = jax.random.uniform(jax.random.key(0), (5, 196))
    keep, restore, mask = random_keep(noise, 0.75)
    assert keep.shape == (5, 49)
    np.testing.assert_array_equal(mask.sum(1), 147)
    shuffle = np.argsort(np.asarray(noise), axis=1)
    np.testing.assert_array_equal(np.take_along_axis(shuffle, np.asarray(restore), 1), np.tile(np.arange(196), (5, 1)))
    assert (np.take_along_axis(np.asarray(mask), np.asarray(keep), 1) == 0).all()


def test_a_ratio_that_keeps_nothing_is_refused():
    with pytest.raises(UserError, match=r"mask_ratio=0\.99 keeps 0 of 16"):
        random_keep(jnp.zeros((1, 16)), 0.99)


def test_tubes_keep_the_same_patches_of_every_frame():
    keep, restore, mask = tube_keep(jax.random.uniform(jax.random.key(0), (5, 12)), 3, 0.75)
    assert keep.shape == (5, 3 * 3)
    np.testing.assert_array_equal(mask.sum(1), 27)
    frames = np.asarray(mask).reshape(5, 3, 12)
    np.testing.assert_array_equal(frames, np.repeat(frames[:, :1], 3, axis=1))
    np.testing.assert_array_equal(np.take_along_axis(np.asarray(mask), np.asarray(keep), 1), 0)
    np.testing.assert_array_equal(
        np.take_along_axis(np.asarray(restore), np.asarray(keep), 1), np.tile(np.arange(9), (5, 1))
    )


@pytest.mark.parametrize(("grid", "policy"), [((40,), "uniform_corner"), ((3, 6, 6), "complement")])
def test_blocks_are_spans_of_a_series_and_go_through_all_frames_of_a_clip(grid, policy):
    masking = MultiBlock(grid, min_keep=4, targets=3, context_tokens=math.prod(grid), policy=policy)
    masks = draw(masking, 32)
    targets = [covered(masks.targets[:, m], masks.targets_valid[:, m], masking.patches) for m in range(3)]
    for block in np.concatenate(targets).reshape(-1, *grid):
        lengths = [np.ptp(i) + 1 for i in np.nonzero(block)]
        assert np.prod(lengths) == block.sum()
        assert lengths[:-2] == list(grid[:-2])
        assert 0.1 < block.mean() < 0.25
    context, hidden = covered(masks.context, masks.context_valid, masking.patches), np.any(targets, axis=0)
    assert (context.sum(1) >= 4).all()
    assert not (context & hidden).any()
    frames = context.reshape(32, *grid[:-2], -1)
    assert (frames == frames[:, :1]).all() or len(grid) == 1
    assert (context | hidden).all() == (policy == "complement")


@pytest.mark.parametrize("grid", [(7, 7), (14, 14), (16, 16), (6, 10)])
def test_targets_are_whole_blocks_and_context_avoids_them(grid):
    masking = MultiBlock(grid, min_keep=3)
    count = grid[0] * grid[1]
    for step in range(4):
        masks = draw(masking, step=step)
        targets = covered(masks.targets, masks.targets_valid, count)
        context = covered(masks.context, masks.context_valid, count)
        assert not (targets & context).any()
        assert (context.sum(1) >= 3).all()
        np.testing.assert_array_equal(masks.context_valid.sum(1), context.sum(1))
        areas = masks.targets_valid.sum(-1)
        assert len(np.unique(areas)) == 1, "one size for the whole batch"
        for example in range(8):
            for block in range(4):
                index = masks.targets[example, block][masks.targets_valid[example, block]]
                row, column = np.divmod(index, grid[1])
                assert (np.ptp(row) + 1) * (np.ptp(column) + 1) == len(index)


def test_sizes_lie_in_the_published_range_on_a_14_grid():
    masking = MultiBlock((14, 14))
    areas = {int(draw(masking, 2, step).targets_valid.sum(-1)[0, 0]) for step in range(40)}
    assert len(areas) > 2
    assert min(areas) >= 24  # 0.15 of 196, rounded side by side
    assert max(areas) <= masking.target_size <= 42


def test_the_published_policy_never_reaches_the_last_row_and_column_and_ours_does():
    hits = {}
    for policy in ("published", "uniform_corner"):
        masking = MultiBlock((14, 14), policy=policy)
        grids = [
            covered(m.targets, m.targets_valid, 196) | covered(m.context, m.context_valid, 196)
            for m in (draw(masking, 256, s) for s in range(3))
        ]
        hit = np.concatenate(grids).any(0).reshape(14, 14)
        hits[policy] = hit[-1].sum() + hit[:, -1].sum()
    assert hits["published"] == 0
    assert hits["uniform_corner"] > 20


def test_the_same_key_draws_the_same_mask_and_another_step_another():
    masking = MultiBlock((14, 14))
    first, again, other = draw(masking, 8, 0), draw(masking, 8, 0), draw(masking, 8, 1)
    np.testing.assert_array_equal(first.targets, again.targets)
    assert first.targets.shape == other.targets.shape
    assert (first.targets_valid != other.targets_valid).any() or (first.context != other.context).any()


def test_a_small_context_gives_up_excluding_targets_until_it_has_enough():
    # Four targets of half the grid leave almost nothing; 8 of 16 patches are still shown.
    masking = MultiBlock((4, 4), target_scale=(0.5, 0.5), target_aspect=(1.0, 1.0), min_keep=6, context_tokens=8)
    masks = draw(masking, 128)
    assert (masks.context_valid.sum(1) >= 6).all()


def test_raster_truncation_drops_the_bottom_rows():
    masks = draw(MultiBlock((14, 14), context_tokens=20, truncation="raster"), 32)
    assert (np.diff(masks.context, axis=1) > 0).all()
    assert masks.context.max() < 196 * 0.7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_keep": 60}, "min_keep=60 cannot be met on a 8x8 grid; use 1 to"),
        ({"policy": "other"}, "policy='other'"),
        ({"truncation": "top"}, "truncation='top'"),
        ({"grid": (2, 8)}, "at least 3x3"),
        ({"grid": (4, 2, 8)}, "at least 3x3 patches, got 4x2x8"),
        ({"grid": (2, 2, 8, 8)}, "one to three axes, got 2x2x8x8"),
    ],
)
def test_what_could_loop_for_ever_in_the_published_sampler_is_refused(options, words):
    with pytest.raises(UserError, match=words):
        MultiBlock(**({"grid": (8, 8)} | options))
