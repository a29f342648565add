"""Methods of video: what V-JEPA's loss is made of, tubes of VideoMAE, orders of frames, and what is shown of them."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.panels import Clips
from ssl_jax.data.video.parts import short_clips
from ssl_jax.data.video.views import ClipViews
from ssl_jax.errors import UserError
from ssl_jax.losses.regression import l1
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Keys, Progress
from ssl_jax.objectives.clip_order import ClipOrder
from ssl_jax.objectives.frame_order import TASKS, FrameOrder, reordered
from ssl_jax.objectives.shared.latent import tokens_at
from ssl_jax.objectives.videomae import VideoMAE
from ssl_jax.objectives.vjepa import VJEPA

PATCH, PROGRESS, KEY = (2, 4, 4), Progress(3, 10), jax.random.key(0)
AUGMENT = ClipViews(16, (0.2,), (0.5,), {"clip": {}})
BATCH = {"clip": np.random.default_rng(0).integers(0, 256, (4, 4, 16, 16, 1)).astype(np.uint8)}
SIZES = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 16, "patch": PATCH, "class_token": False, "remat": "none"}
MASKS = {
    "short": {"blocks": 4, "seen": 0.3, "hidden": 0.8},
    "long": {"blocks": 1, "scale": 0.5, "seen": 0.5, "hidden": 0.6},
}
SMALL = {"predictor_width": 12, "predictor_depth": 1, "predictor_heads": 2, "masks": MASKS, "momentum": (0.9, 0.9)}


def started(objective):
    """Views, and a state whose arrays are all random: mask tokens start at zero."""
    views = drawn(objective, BATCH)
    state, rng = jax.eval_shape(objective.init, KEY, views), np.random.default_rng(0)
    return views, jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(x.dtype), state)


def drawn(objective, batch):
    """Its views of a batch."""
    keys = Keys(jax.random.split(jax.random.key(0), len(batch["clip"])), jax.random.key(1))
    return jax.tree.map(np.asarray, jax.jit(lambda: objective.views(keys, batch, PROGRESS))())


def panel_of(make, views):
    """The only panel that `make` gives of views, and its rows as numbers."""
    panels = []

    def rows(views):
        panels[:] = make(views).values()
        return panels[0].rows

    found = np.asarray(jax.jit(rows)(views))
    (panel,) = panels
    return panel, found


def test_vjepa_is_the_mean_of_its_settings_and_padding_changes_nothing():
    objective = VJEPA(
        ViT(**SIZES, positions="rope", rope_places="indices", rope_base=1e4, rope_tiled=True), AUGMENT, **SMALL
    )
    assert objective.predictor.rope_tiled
    views, (params, extra) = started(objective)
    assert not all(bool(views[f"{name}/{field}_valid"].all()) for name in MASKS for field in ("context", "targets"))

    @jax.jit
    def run(params, views):
        taught = objective.taught(extra, views)
        alone = [
            l1(objective.predicted(params, views, masks, number), tokens_at(taught, masks.targets), masks.targets_valid)
            for number, masks in enumerate(objective.masks_in(views))
        ]
        loss = lambda p: objective.loss(p, extra, views, None, PROGRESS).total()  # noqa: E731
        return [mean.value for mean in alone], *jax.value_and_grad(loss)(params)

    alone, loss, gradient = run(params, views)
    np.testing.assert_allclose(loss, np.mean(alone), rtol=1e-6)
    assert all(np.abs(token).max() > 0 for token in gradient["predictor"]["mask_token"])
    fields = {f"{name}/{field}" for name in MASKS for field in ("context", "targets")}
    other = {k: np.where(views[f"{k}_valid"], v, 5) if k in fields else v for k, v in views.items()}
    assert any((views[k] != other[k]).any() for k in fields)
    for ours, theirs in zip(jax.tree.leaves(run(params, other)), jax.tree.leaves((alone, loss, gradient)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_vjepa_has_a_token_for_each_setting_or_one_and_a_teacher_that_follows():
    encoder = ViT(**SIZES)
    objective = VJEPA(encoder, AUGMENT, **SMALL)
    views, (params, extra) = started(objective)
    assert params["predictor"]["mask_token"].shape == (2, 12)
    shared = VJEPA(encoder, AUGMENT, **SMALL, shared_token=True)
    assert jax.eval_shape(shared.init, KEY, views).params["predictor"]["mask_token"].shape == (12,)
    moved = jax.jit(lambda: objective.update(params, extra, None, PROGRESS))().extra["teacher"]["encoder"]
    for new, old, student in zip(
        *map(jax.tree.leaves, (moved, extra["teacher"]["encoder"], params["encoder"])), strict=True
    ):
        np.testing.assert_allclose(new, 0.9 * old + 0.1 * student, rtol=1e-5, atol=1e-6)
    assert list(objective.encoders()) == ["teacher", "student"]
    shown = {
        objective.preview: ("input", "long", "short"),
        lambda views: objective.show(params, extra, views): (
            "input", "long context", "long similarity", "short context", "short similarity",
        ),
    }  # fmt: skip
    for make, columns in shown.items():
        panel, rows = panel_of(make, views)
        assert isinstance(panel, Clips)
        assert panel.captions == columns
        assert rows.shape == (4, len(columns), 4, 16, 16, 1)
    hidden = rows[:, 4] != 0.5
    assert (hidden.mean((1, 2, 3, 4)) == np.asarray(views["short/targets_valid"]).sum((1, 2)) / 32).all()


def test_videomae_hides_tubes_and_normalises_each_channel_of_a_tubelet():
    augment = ClipViews(16, (0.2, 0.1), (0.5, 0.3), {"clip": {}})
    objective = VideoMAE(
        ViT(**SIZES, positions="sequence"), augment, 0.75, decoder_width=8, decoder_depth=1, decoder_heads=2
    )
    batch = {"clip": np.concatenate([BATCH["clip"], BATCH["clip"] // 3 + 20], axis=-1)}
    views = drawn(objective, batch)
    target = np.asarray(objective.target(views)).reshape(4, 32, -1, 2)
    first = batch["clip"][0, :2, :4, :4].astype(float).reshape(-1, 2) / 255
    np.testing.assert_allclose(target[0, 0], (first - first.mean(0)) / (first.std(0, ddof=1) + 1e-6), atol=1e-4)
    params = jax.tree.map(lambda x: np.full(x.shape, 0.1, x.dtype), jax.eval_shape(objective.init, KEY, views).params)
    _, rows = panel_of(lambda views: objective.show(params, {}, views), views)
    _, masked, filled = np.moveaxis(rows, 1, 0)
    seen = (masked == filled).all(-1).reshape(4, 2, 2, 4, 4, 4, 4).all((2, 4, 6))  # the patches that are not filled in
    np.testing.assert_array_equal(seen.sum((2, 3)), 4)
    np.testing.assert_array_equal(seen[:, 0], seen[:, 1])


def test_videomae_hides_single_tubelets_or_whole_frames():
    def hidden(masking, ratio):
        objective = VideoMAE(ViT(**SIZES), AUGMENT, ratio, masking=masking)
        _, rows = panel_of(objective.preview, drawn(objective, BATCH))
        return (rows[:, 1] == 0.5).reshape(4, 2, 2, 4, 4, 4, 4).all((2, 4, 6))  # [B, frames, rows, columns] of patches

    single, frames = hidden("random", 0.75), hidden("frame", 0.5)
    np.testing.assert_array_equal(single.sum((1, 2, 3)), 24)
    assert (single[:, 0] != single[:, 1]).any()
    np.testing.assert_array_equal(frames.all((2, 3)).sum(1), 1)
    np.testing.assert_array_equal(frames.any((2, 3)).sum(1), 1)


def test_short_clips_come_from_their_parts_in_the_order_that_the_label_says():
    numbered = {"clip": np.broadcast_to(np.arange(14, dtype=np.uint8).reshape(1, 14, 1, 1, 1), (256, 14, 8, 8, 1))}
    objective = ClipOrder(ViT(**SIZES), ClipViews(8, (0.0,), (1 / 255,), {"clip": {}}), 2, 4, out=8, hidden=())
    views = drawn(objective, numbered)
    found = views["clip"][..., 0, 0, 0].round().astype(int)  # [B, 2, 4]
    starts = found[..., :1]
    np.testing.assert_array_equal(found, starts + np.arange(4))
    early, late = np.sort(starts[..., 0], axis=1).T
    assert set(early) == {0, 1, 2, 3}
    assert set(late) == {7, 8, 9, 10}
    np.testing.assert_array_equal(starts[:, 0, 0] > starts[:, 1, 0], views["label"])
    assert 0.35 < views["label"].mean() < 0.65
    params = jax.eval_shape(objective.init, KEY, views).params
    assert params["classifier"]["dense_out"]["kernel"].shape == (2 * 8, 2)


def test_parts_come_in_the_order_that_the_label_says():
    clip = jnp.arange(12).reshape(1, 6, 2)
    assert reordered(clip, jnp.array([[2, 0, 1]]))[0, :, 0].tolist() == [8, 10, 0, 2, 4, 6]
    assert reordered(clip, jnp.array([[~1, ~0]]))[0, :, 1].tolist() == [11, 9, 7, 5, 3, 1]
    for task, count in (("shuffle", 2), ("sort", 24), ("arrow", 2)):
        assert len(TASKS[task](4)) == count
    assert set(TASKS["sort"](3)) == {(order,) for order in permutations(range(3))}
    numbered = {"clip": np.broadcast_to(np.arange(4, dtype=np.uint8).reshape(1, 4, 1, 1, 1), (256, 4, 16, 16, 1))}
    augment = ClipViews(16, (0.0,), (1 / 255,), {"clip": {}})
    right, swapped, backwards = [0, 1, 2, 3], [2, 3, 0, 1], [3, 2, 1, 0]
    told = {"shuffle": (swapped, right), "sort": (right, swapped), "arrow": (backwards, right)}
    for task in TASKS:
        objective = FrameOrder(ViT(**SIZES), augment, task, 2)
        views = drawn(objective, numbered)
        found = views["clip"][:, 0, :, 0, 0, 0].round().astype(int)
        told = {
            "shuffle": ([2, 3, 0, 1], [0, 1, 2, 3]),
            "sort": ([0, 1, 2, 3], [2, 3, 0, 1]),
            "arrow": ([3, 2, 1, 0], [0, 1, 2, 3]),
        }
        np.testing.assert_array_equal(found, np.array(told[task])[views["label"]])
        assert 0.35 < views["label"].mean() < 0.65


def test_what_cannot_be_learned_is_refused():
    encoder = ViT(**SIZES)
    for make, words in (
        (lambda: VJEPA(ViT(**SIZES | {"class_token": True}), AUGMENT), "VJEPA's encoder has no class token"),
        (lambda: VJEPA(encoder, AUGMENT, masks={"a/b": {}}), "objective.masks.a/b"),
        (lambda: VJEPA(encoder, AUGMENT, masks={"short": {"share": 1}}), "objective.masks.short has no option 'share'"),
        (lambda: FrameOrder(encoder, AUGMENT, "guess"), "objective.task='guess'.*shuffle, sort, arrow"),
        (lambda: FrameOrder(encoder, AUGMENT, "sort", 9), "objective.parts=9: sort takes 2 to 5"),
        (lambda: VideoMAE(encoder, AUGMENT, masking="half"), "objective.masking='half'.*tube, random, frame"),
        (lambda: ClipOrder(encoder, AUGMENT, 6), "objective.parts=6.*use 2 to 5 clips"),
        (lambda: short_clips(KEY, jnp.zeros((9, 1)), 2, 5), "clips of 9 frames have parts of 4"),
        (lambda: reordered(jnp.zeros((1, 5, 1)), jnp.zeros((1, 2), int)), "parts=2 does not divide clips of 5 frames"),
    ):
        with pytest.raises(UserError, match=words):
            make()
