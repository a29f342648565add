"""`ClipViews`: frames of a view are changed alike, as `ImageViews` changes a picture, and are a stretch of the record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.image.view_policy import DRAWS
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.panels import Clips
from ssl_jax.data.video.clip_policy import OWNED, ClipPolicy
from ssl_jax.data.video.views import ClipViews
from ssl_jax.errors import UserError

PIXELS = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
POLICY = {
    "count": 2, "scale": (0.2, 1.0), "flip": 0.5, "blur": 0.5, "translate": 2, "solarize": 0.5, "grey": 0.3, "erase": 0.5,
    "jitter": (0.4, 0.0, 0.4, 0.1),
}  # fmt: skip
KEYS = jax.random.split(jax.random.key(0), 6)
CLIPS = np.random.default_rng(0).integers(0, 256, (6, 3, 20, 20, 3), dtype=np.uint8)


def test_frames_are_changed_as_pictures_are_with_one_set_of_draws():
    """Every frame, by all operations but contrast, which is that of the whole clip."""
    clips, pictures = (kind(16, **PIXELS, views={"clip": POLICY}) for kind in (ClipViews, ImageViews))
    views = jax.jit(clips)(KEYS, {"clip": CLIPS})["clip"]
    assert views.shape == (6, 2, 3, 16, 16, 3)
    by_frame = jax.jit(jax.vmap(pictures, in_axes=(None, 1), out_axes=2))
    np.testing.assert_allclose(views, by_frame(KEYS, {"image": CLIPS})["clip"], atol=1e-4)


def test_operations_own_their_draws():
    owners = np.concatenate([np.arange(DRAWS)[s] for s in OWNED.values()])
    assert len(set(owners)) == len(owners)
    everything = {
        "translate": 1,
        "flip": 1.0,
        "jitter": (1, 1, 1, 0.5),
        "grey": 1.0,
        "blur": 1.0,
        "solarize": 1.0,
        "erase": 1.0,
    }
    assert set(OWNED) == {"crop", "time", *ClipPolicy(residual=1.0, **everything).operations(3)}


def test_contrast_is_that_of_all_frames():
    augment = jax.jit(ClipViews(2, (0.0,), (1.0,), {"clip": {"jitter": (0.0, 0.8, 0.0, 0.0)}}))
    clips = np.zeros((6, 2, 2, 2, 1), np.uint8)
    clips[:, 0], clips[:, 1] = 102, 153  # 0.4 and 0.6: their mean stays
    views = augment(KEYS, {"clip": clips})["clip"]
    np.testing.assert_allclose(views.mean((1, 2, 3, 4, 5)), 0.5, atol=1e-5)
    assert (abs(views[:, 0, 1] - views[:, 0, 0] - 0.2) > 1e-3).all()


def test_a_residual_view_is_what_changes_from_frame_to_frame():
    augment = jax.jit(ClipViews(20, (0.0,), (1.0,), {"clip": {"count": 2, "residual": (0.0, 1.0)}}))
    as_it_is, change = jnp.moveaxis(augment(KEYS, {"clip": CLIPS})["clip"], 1, 0)
    np.testing.assert_allclose(as_it_is, CLIPS / 255, atol=1e-6)
    np.testing.assert_allclose(change[:, :2], (np.diff(CLIPS / 255, axis=1) + 1) / 2, atol=1e-6)
    np.testing.assert_array_equal(change[:, 2], change[:, 1])


def numbered(count=20):
    """Clips whose frame t has the value t everywhere."""
    return {"clip": np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (200, count, 4, 4, 1))}


def test_views_are_stretches_of_the_record_with_strides_as_said():
    augment = ClipViews(
        4, (0.0,), (1 / 255,), {"clip": {"count": 2, "frames": 5, "strides": (1, 3)}}, frames=6, stride=2
    )
    keys = jax.random.split(jax.random.key(1), 200)
    views, middles = jax.jit(lambda b: (augment(keys, b), [augment.evaluation(b, kind) for kind in ("", "clip")]))(
        numbered()
    )
    seen = np.rint(views["clip"][..., 0, 0, 0]).astype(int)
    strides = np.diff(seen, axis=-1)
    assert (strides == strides[..., :1]).all()
    assert set(strides.ravel()) == {1, 2, 3}
    starts = {stride: set(seen[..., 0][strides[..., 0] == stride]) for stride in (1, 3)}
    assert starts == {1: set(range(16)), 3: set(range(8))}
    assert (seen[:, 0] != seen[:, 1]).any(axis=-1).mean() > 0.9
    middle, of_views = (np.rint(x["clip"][0, :, 0, 0, 0]).astype(int).tolist() for x in middles)
    assert middle == [4, 6, 8, 10, 12, 14]
    assert of_views == [7, 8, 9, 10, 11]


def test_an_example_looks_the_same_beside_any_others():
    augment, others = jax.jit(ClipViews(16, **PIXELS, views={"clip": {"scale": (0.2, 1.0), "frames": 2}})), CLIPS.copy()
    others[1:] = 0
    alone, together = (augment(KEYS, {"clip": clips})["clip"] for clips in (others, CLIPS))
    np.testing.assert_array_equal(alone[0], together[0])


def test_what_people_and_baselines_are_shown():
    augment = ClipViews(20, **PIXELS, views={"clip": {"count": 2}, "short": {"frames": 2}})
    views, plain = jax.jit(lambda batch: (augment(KEYS, batch), augment.plain(batch)))({"clip": CLIPS})
    panels = augment.panel(views)
    assert {name: panel.rows.shape[1:3] for name, panel in panels.items()} == {"views": (2, 3), "short": (1, 2)}
    assert all(isinstance(panel, Clips) for panel in panels.values())
    np.testing.assert_allclose(panels["views"].rows[:, 0], CLIPS / 255, atol=1e-5)
    assert plain.shape == (6, 3 * 16 * 16 * 3)
    assert augment.units({"clip": CLIPS}) == {"frames": 18}


@pytest.mark.parametrize(
    ("options", "batch", "said"),
    [
        ({"views": {"clip": {"frames": 4}}}, {"clip": CLIPS}, "need records of 4 frames, and these have 3"),
        ({"views": {"clip": {"strides": (2, 1)}}}, {}, "augment.views.clip.strides"),
        ({"views": {"clip": {"residual": (1.0, 0.5)}}}, {}, "augment.views.clip.residual"),
        ({"views": {"clip": {"stride": 2}}}, {}, "did you mean 'strides'"),
        ({"views": {}}, {}, "views=dict[(]clip="),
        ({"stride": 0}, {}, "augment.stride=0"),
        ({}, {"image": CLIPS}, "no field 'clip'"),
        ({}, {"clip": CLIPS[:, 0]}, r"clips are \[B, T, H, W, C\]"),
        ({}, {"clip": CLIPS[..., :2]}, "3 values for clips of 2 channels"),
    ],
)
def test_what_makes_no_sense_is_refused(options, batch, said):
    with pytest.raises(UserError, match=said):
        ClipViews(**({"size": 8, "views": {"clip": {}}} | PIXELS | options))(KEYS, batch)
