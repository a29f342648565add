"""Block masks: rectangles up to a share, which crops are masked, slots for what they hide."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.image.presets import PRESETS
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.masks.rectangles import BlockMask, slots_of
from ssl_jax.errors import UserError

GRID = (14, 14)


@pytest.fixture(scope="module", params=["each", "one"])
def drawn(request):
    sampler = BlockMask(GRID, 2, (0.1, 0.5), request.param)
    return sampler, np.asarray(jax.jit(sampler)(jax.random.split(jax.random.key(0), 256)))


def test_shares_stay_below_the_largest_and_spread_over_the_range(drawn):
    sampler, mask = drawn
    count = mask.sum(axis=2)
    assert count.max() <= sampler.most == 98
    assert count.reshape(256, -1).sum(axis=1).max() <= sampler.slots
    masked = count[count > 0] / 196
    assert 0.25 < masked.mean() < 0.33  # uniform on (0.1, 0.5), cut a little short where the last rectangles do not fit
    assert masked.min() < 0.14
    assert masked.max() > 0.44


def test_no_mask_is_cut_short_by_the_number_of_proposals(drawn):
    sampler, mask = drawn
    longer = replace(sampler, proposals=2 * sampler.proposals)
    np.testing.assert_array_equal(jax.jit(longer)(jax.random.split(jax.random.key(0), 256)), mask)


def test_half_of_the_crops_are_masked(drawn):
    sampler, mask = drawn
    any_mask = mask.any(axis=2)
    if sampler.scheme == "one":
        assert (any_mask.sum(axis=1) == 1).all()
    else:
        assert 0.42 < any_mask.mean() < 0.58
    assert 0.4 < any_mask[:, 0].mean() < 0.6


def test_masks_are_blocks(drawn):
    _, mask = drawn
    grid = mask[mask.any(axis=2)].reshape(-1, *GRID)
    neighbours = (grid[:, 1:] & grid[:, :-1]).sum() / grid.sum()
    assert neighbours > 0.6  # 0.3 for patches at random


def test_blocks_are_spans_of_a_series_and_go_through_all_frames_of_a_clip():
    keys = jax.random.split(jax.random.key(1), 64)
    series, clip = BlockMask((50,), 1, (0.3, 0.5)), BlockMask((4, 8, 8), 1, (0.3, 0.5))
    spans, tubes = (np.asarray(jax.jit(sampler)(keys))[:, 0] for sampler in (series, clip))
    for sampler, mask in ((series, spans), (clip, tubes)):
        count = mask.sum(axis=1)
        assert count.max() <= sampler.most
        assert 0.3 < (count > 0).mean() < 0.7
        assert count[count > 0].mean() > 0.25 * mask.shape[1]
    edges = np.diff(np.pad(spans, ((0, 0), (1, 1))).astype(int), axis=1)
    assert (edges == 1).sum() < spans.sum() / 4  # four steps or more each
    frames = tubes.reshape(64, 4, 64)
    np.testing.assert_array_equal(frames, np.repeat(frames[:, :1], 4, axis=1))


def test_slots_hold_the_masked_patches_once_each():
    mask = jnp.array([[[True, False, True], [False, False, True]], [[False] * 3, [True, False, False]]])
    slots = slots_of(mask, 4)
    assert [list(i[v]) for i, v in zip(np.asarray(slots.index), np.asarray(slots.valid), strict=True)] == [
        [0, 2, 5],
        [3],
    ]
    np.testing.assert_array_equal(slots.weight, [[0.5, 0.5, 1, 0], [1, 0, 0, 0]])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheme": "none"}, "mask scheme='none' is unknown"),
        ({"ratio": (0.5, 0.1)}, "mask_ratio"),
        ({"ratio": (0.0, 0.001)}, "hides no patch"),
    ],
)
def test_masks_that_make_no_sense_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        BlockMask(GRID, **options)


def test_a_policy_like_another_sees_the_same_crop():
    crop = {"scale": (0.3, 1.0), "flip": 0.5, "count": 2}
    views = {"image": crop, "gram": crop | {"like": "image"}, "other": crop}
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    made = jax.jit(ImageViews(8, (0.0,), (1.0,), views))(jax.random.split(jax.random.key(0), 3), {"image": images})
    np.testing.assert_array_equal(made["gram"], made["image"])
    assert (made["other"] != made["image"]).any()
    with pytest.raises(UserError, match=r"augment.views.gram.like='imgae': one of the other policies, gram"):
        ImageViews(8, (0.0,), (1.0,), {"gram": {"like": "imgae"}})


def test_released_blur_is_one_minus_the_nominal():
    for name in ("dinov2", "dinov3"):
        nominal, released = PRESETS[name]["blur"], PRESETS[f"{name}_released"]["blur"]
        np.testing.assert_allclose(np.add(nominal, released), 1.0)
    assert PRESETS["dinov3"]["flip"] == 0
