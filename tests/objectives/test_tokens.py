"""Self-distillation on tokens: the same on every mesh with teacher and centres, Gram teachers on time, input refused."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import drawn, normal

from ssl_jax.data.image.views import ImageViews
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch, state_shardings
from ssl_jax.errors import UserError
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Keys, Out, Progress
from ssl_jax.objectives.dino import DINO
from ssl_jax.objectives.dinov2 import DINOv2
from ssl_jax.objectives.dinov3 import DINOv3
from ssl_jax.objectives.ibot import IBOT
from ssl_jax.objectives.msn import MSN

BATCH, PROGRESS = 16, Progress(3, 10)
CROPS = {"image": {"count": 2}, "local": {"count": 2, "size": 8}}
AUGMENT = ImageViews(12, (0.3,), (0.4,), CROPS)
HEAD = {"prototypes": 12, "hidden": 16, "bottleneck": 8}
HEADS = HEAD | {"patch_prototypes": 10, "patch_hidden": 16, "patch_bottleneck": 8}


def vit(**options):
    return ViT(**({"width": 16, "depth": 1, "heads": 2, "mlp_dim": 16, "patch": 4, "remat": "none"} | options))


# Two layers, few drops: an image whose attention is dropped everywhere has the class token of any other such image, and
# KoLeo's gradient between equal rows is noise.
SUBSET = {"depth": 2, "drop_path": 0.1, "drop_path_mode": "subset", "drop_path_groups": 2}
ROPE = {"positions": "rope", "rope_rescale": 2.0, "local_norm": True, "qkv_bias": "query_value", "registers": 1}
OBJECTIVES = {
    "dino": DINO(vit(drop_path=0.3), AUGMENT, **HEAD),
    "ibot": IBOT(vit(positions="learned"), AUGMENT, magnitude=True, **HEAD),
    "dinov2": DINOv2(vit(mlp="swiglu", layer_scale=0.1, **SUBSET), AUGMENT, koleo_groups=2, **HEADS),
    "dinov3": DINOv3(vit(**ROPE), AUGMENT, gram_weight=2.0, gram_start=0.2, gram_every=0.2, **HEADS),
    "msn": MSN(vit(), AUGMENT, prototypes=12, hidden=16, out=8),
}


def views_of(objective):
    """Random crops, masks and noise: what the loss needs, without the cost of compiling an augmentation."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=(BATCH, *shape)).astype(np.float32)  # noqa: E731
    views = {"image": draw(2, 12, 12, 1), "local": draw(2, 8, 8, 1)}
    if isinstance(objective, IBOT | DINOv2):
        mask = np.zeros((BATCH, 2, 9), bool)
        mask[np.arange(BATCH), rng.integers(0, 2, BATCH), rng.integers(0, 9, BATCH)] = True
        mask[: BATCH // 2, :, 4] |= mask[: BATCH // 2].any(axis=2)
        views["mask"] = mask
    return views | ({"noise": draw(9)} if isinstance(objective, MSN) else {})


def step(objective, params, extra, views):
    def loss(params):
        out = objective.loss(params, extra, views, jax.random.key(1), PROGRESS)
        return out.total(), out

    (value, out), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    moved = jax.tree.map(lambda p, g: p - 0.1 * g / (1 + jnp.abs(g)), params, gradient)
    return value, gradient, objective.update(moved, extra, out, PROGRESS).extra


def on(mesh, objective, state, views):
    with jax.set_mesh(mesh):
        state = jax.device_put(state, state_shardings(state, mesh))
        found = jax.jit(partial(step, objective))(*state, place_batch(views, batch_sharding(mesh)))
        return jax.tree.map(np.asarray, found)


def assert_close(ours, theirs, what):
    norm = np.sqrt(sum(float(np.sum(np.square(x, dtype=np.float64))) for x in jax.tree.leaves(theirs)))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.max(np.abs(a - b)) <= 1e-5 * norm, what


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_gradient_teacher_and_centre_are_equal_on_one_and_eight_devices(name):
    objective = OBJECTIVES[name]
    views = views_of(objective)
    state = drawn(objective.init, jax.random.key(0), views)
    value, gradient, extra = on(make_mesh(devices=jax.devices()[:1]), objective, state, views)
    other_value, other_gradient, other_extra = on(make_mesh(), objective, state, views)
    assert np.isfinite(value)
    assert abs(other_value - value) <= 1e-5 * abs(value)
    assert_close(other_gradient, gradient, "gradient")
    assert_close(other_extra, extra, "extra")

    norms = jax.tree.map(lambda g: float(np.abs(g).max()), gradient)
    assert max(jax.tree.leaves(norms["encoder"])) > 0
    assert max(jax.tree.leaves(norms.get("head", {}))) > 0
    before, after = (jax.tree.leaves(e["teacher"]) for e in (state.extra, extra))
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    assert ("centre" in extra) == (name in ("dino", "ibot"))
    assert ("batch_stats" in extra) == (name == "msn")


def test_views_hold_one_entry_for_each_resolution_and_masks_that_fit_their_slots():
    objective = OBJECTIVES["dinov2"]
    keys = Keys(jax.random.split(jax.random.key(0), 4), jax.random.key(1))
    views = jax.jit(objective.views)(keys, {"image": np.zeros((4, 12, 12, 1), np.uint8)}, PROGRESS)
    shapes = {k: v.shape for k, v in views.items()}
    assert shapes == {"image": (4, 2, 12, 12, 1), "local": (4, 2, 8, 8, 1), "mask": (4, 2, 9)}
    assert views["mask"].sum(axis=(1, 2)).max() <= objective.masking(views).slots
    assert ((views["mask"].any(axis=2)).sum(axis=1) <= 1).all()
    panels = objective.preview(views)
    assert {p.rows.shape[1] for p in panels.values()} == {2}


def test_the_gram_teacher_is_renewed_at_its_times_only():
    objective = OBJECTIVES["dinov3"]  # starts at 20 of 100 steps, then every 20, three times
    fresh, old = {"encoder": jnp.ones(()), "head": jnp.ones(()), "patch_head": jnp.ones(())}, jnp.zeros(())
    extra = {"teacher": fresh, "gram": old}
    gram_at = lambda t: objective.update(fresh, extra, Out({}, sums={}), Progress(t, 100)).extra["gram"]  # noqa: E731
    renewed = list(np.flatnonzero(jax.jit(jax.vmap(gram_at))(jnp.arange(100))))
    assert renewed == [19, 39, 59, 79]
    momenta = [float(objective.momentum_at(Progress(t, 100))) for t in (19, 20)]
    np.testing.assert_allclose(momenta, [0.994, 0.999], rtol=1e-6)


def test_the_temperature_of_the_teacher_rises_and_stays():
    objective = OBJECTIVES["dino"]
    found = [float(objective.temperature_at(Progress(t, 100))) for t in (0, 15, 30, 99)]
    np.testing.assert_allclose(found, [0.04, 0.055, 0.07, 0.07], rtol=1e-6)


def test_the_head_without_a_gradient_of_its_length_is_a_cosine():
    head = OBJECTIVES["dino"].heads["head"]
    x = normal(0, 5, 16)
    params, run = drawn(head.init, jax.random.key(1), x), jax.jit(head.apply)
    logits = np.asarray(run(params, x))
    assert np.abs(logits).max() <= 1 + 1e-6
    assert "magnitude" not in params["params"]
    longer = jax.tree.map(lambda p: p, params)
    longer["params"]["prototypes"] = 3 * params["params"]["prototypes"]
    np.testing.assert_allclose(run(longer, x), logits, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DINO(vit(), ImageViews(12, (0.3,), (0.4,), CROPS | {"local": {"size": 10}})),
         r"augment.views.local.image size 10x10 is not divisible by the patch size 4; use a size of 8 or 12"),
        (lambda: DINO(vit(), AUGMENT, student_temperature=0.0), r"student_temperature=0.0 must be > 0"),
        (lambda: DINO(vit(), AUGMENT, teacher_temperature=(-0.04, 0.07)), r"teacher_temperature=\(-0.04, 0.07\) must be"),
        (lambda: MSN(vit(), AUGMENT, temperature=0.0), r"temperature=0.0 must be greater than 0"),
        (lambda: MSN(vit(), AUGMENT, sharpening=-0.25), r"sharpening=-0.25 must be greater than 0"),
        (lambda: DINO(vit(class_token=False), AUGMENT), r"set model.class_token=True"),
        (lambda: DINO(vit(), AUGMENT, balancing="sinkhron"), r"'sinkhron' is unknown; use one of centre, sinkhorn"),
        (lambda: DINO(vit(), AUGMENT, last_layer="cosine").heads, r"last_layer='cosine' is unknown"),
        (lambda: IBOT(vit(), AUGMENT, patch_centre="some"), r"patch_centre='some': one of all, masked"),
        (lambda: IBOT(vit(), AUGMENT, mask_ratio=(0.0, 0.05)).masking({"image": np.zeros((1, 2, 12, 12, 1))}),
         r"hides no patch of a 3x3 grid; use a larger ratio"),
        (lambda: DINOv3(vit(), AUGMENT, gram_start=2.0), r"gram_start=2.0"),
        (lambda: vit(positions="learned", grid=(2, 2)).apply(
            {"params": {"positions": jnp.zeros((9, 16))}}, jnp.zeros((1, 12, 12, 1))),
         r"learned for 9 patches and the image has 2x2; set model.grid"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_compilation_with_value_and_remedy(make, words):
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize(("name", "reason"), [("dinov2", "Sinkhorn balances"), ("msn", "balances its prototypes")])
def test_accumulation_is_refused_where_rows_meet(name, reason):
    assert reason in OBJECTIVES[name].accumulation_refusal({})
    assert OBJECTIVES["dino"].accumulation_refusal({}) is None


def test_few_class_tokens_for_each_prototype_are_told_where_sinkhorn_balances_them():
    dinov2 = replace(OBJECTIVES["dinov2"], prototypes=4096)
    (warning,) = dinov2.warnings(8)
    assert "prototypes=4096: Sinkhorn balances them over 16 rows, 0.0039 for each" in warning
    assert "use at most 512 prototypes" in warning
    assert dinov2.warnings(64) == replace(dinov2, balancing="centre").warnings(8) == ()
    assert "prototypes" in replace(OBJECTIVES["msn"], prototypes=9).warnings(8)[0]
