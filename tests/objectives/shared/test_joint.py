"""Joint-embedding objectives and pretexts: the same on every mesh, state that moves as it should, input that is refused."""

import functools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.image.views import ImageViews
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch, state_shardings
from ssl_jax.errors import UserError
from ssl_jax.losses.contrastive import normalize
from ssl_jax.models.conv import ConvNet, PixelEncoder
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.barlow_twins import BarlowTwins
from ssl_jax.objectives.base import Keys, Objective, Progress
from ssl_jax.objectives.byol import BYOL
from ssl_jax.objectives.csi import CSI
from ssl_jax.objectives.curl import CURL
from ssl_jax.objectives.jigsaw import Jigsaw
from ssl_jax.objectives.lejepa import LeJEPA
from ssl_jax.objectives.moco import MoCo
from ssl_jax.objectives.moco_v3 import MoCoV3
from ssl_jax.objectives.relative_position import RelativePosition
from ssl_jax.objectives.rotnet import RotNet
from ssl_jax.objectives.simclr import SimCLR
from ssl_jax.objectives.simsiam import SimSiam
from ssl_jax.objectives.swav import SwAV
from ssl_jax.objectives.vicreg import VICReg
from ssl_jax.optim import optimizers, schedules
from ssl_jax.recipe import load, parse
from ssl_jax.training.run import run
from ssl_jax.training.step import Setup, init_state, value_and_gradient

BATCH, SIZE, PROGRESS = 16, 12, Progress(0, 10)
NET = ConvNet((8,), (2,), (3,), norm="batch", pool="mean")


def augment(**policies):
    crop = {"scale": (0.3, 1.0), "flip": 0.5}
    views = {name: crop | options for name, options in policies.items()}
    return ImageViews(SIZE, (0.3,), (0.4,), views or {"image": crop | {"count": 2}})


CROPS = augment(image={"count": 2}, local={"count": 2, "size": 8})
WHOLE = ImageViews(SIZE, (0.3,), (0.4,), {"image": {}})

OBJECTIVES = {
    "byol": BYOL(NET, augment(), 16, 8),
    "simsiam": SimSiam(NET, augment(), (16, 16), 16, 8),
    "moco": MoCo(NET, augment(), 0.2, (16,), 8, queue=32, momentum=0.9, bn=4),
    "moco_v3": MoCoV3(ViT(16, 1, 2, 32, 4, remat="none"), augment(), 0.2, (16,), (16,), out=8),
    "barlow_twins": BarlowTwins(NET, augment(), hidden=(16,), out=8),
    "vicreg": VICReg(NET, augment(), hidden=(16,), out=8),
    "swav": SwAV(NET, CROPS, prototypes=6, hidden=(16,), out=8, queue=32),
    "lejepa": LeJEPA(NET, CROPS, directions=8, hidden=(16,), out=8),
    "csi": CSI(NET, augment(), hidden=(16,), out=8),
    "rotnet": RotNet(NET, WHOLE),
    "jigsaw": Jigsaw(NET, WHOLE, 5, 3, tile_out=8, hidden=(16,)),
    "relative_position": RelativePosition(NET, WHOLE, 3, 1, 0, patch_out=8, hidden=(16,)),
    "curl": CURL(PixelEncoder(8, 2, 6), augment(image={"count": 2, "scale": (0.5, 0.5), "ratio": (1.0, 1.0)})),
}
TAUGHT = ("byol", "moco", "moco_v3", "curl")


@functools.cache
def batch():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (BATCH, SIZE, SIZE, 1)).astype(np.uint8)
    return {"image": image, "_id": np.arange(BATCH, dtype=np.int32), "_epoch": np.zeros(BATCH, np.int32)}


def setup_of(objective):
    return Setup(
        objective, optimizers.adamw(schedules.warmup_cosine(3e-3, 100, 2), lambda step: 0.05), seed=3, total_steps=10
    )


@functools.cache
def views_of(name):
    """Made once, and by one compiled program for all objectives with the same views: `verify` judges the views themselves."""
    objective = OBJECTIVES[name]
    alike = (type(objective).views, objective.augment)
    first = next(n for n, o in OBJECTIVES.items() if (type(o).views, o.augment) == alike)
    if first != name:
        return views_of(first)
    keys = Keys(jax.random.split(jax.random.key(2), BATCH), jax.random.key(0))
    return jax.tree.map(np.asarray, jax.jit(objective.views)(keys, batch(), PROGRESS))


@functools.cache
def started(name):
    return jax.jit(OBJECTIVES[name].init)(jax.random.key(3), views_of(name))


def gradient_and_update(objective, state, views):
    """Loss, metrics, gradient and what the objective keeps; the student is moved, so that the teacher has to follow."""

    def loss(params):
        out = objective.loss(params, state.extra, views, jax.random.key(1), PROGRESS)
        return out.total(), out

    (value, out), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    moved = jax.tree.map(lambda p: 1.5 * p, state.params)
    extra = objective.update(moved, state.extra, out, PROGRESS).extra
    return value, {k: m.value for k, m in out.metrics.items()}, gradient, extra


@functools.cache
def on(name, *sizes):
    state, mesh = started(name), make_mesh(*sizes, devices=jax.devices()[: int(np.prod(sizes))])
    with jax.set_mesh(mesh):
        state = jax.device_put(state, state_shardings(state, mesh))
        views = place_batch(views_of(name), batch_sharding(mesh))
        result = jax.jit(partial(gradient_and_update, OBJECTIVES[name]))(state, views)
        return jax.tree.map(np.asarray, result)


def distance(ours, theirs):
    """Largest difference over the global norm: some leaves are zero in exact arithmetic."""
    pairs = list(zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))
    norm = np.sqrt(sum(float(np.sum(np.square(b, dtype=np.float64))) for _, b in pairs))
    return max(float(np.max(np.abs(a - b))) for a, b in pairs) / max(norm, 1e-12)


def check_mesh(name, sizes):
    loss, _, gradient, extra = on(name, 1, 1, 1)
    other_loss, _, other_gradient, other_extra = on(name, *sizes)
    assert np.isfinite(loss)
    assert abs(other_loss - loss) <= 1e-5 * max(abs(loss), 1)
    assert distance(other_gradient, gradient) <= 1e-5
    if extra:
        assert distance(other_extra, extra) <= 1e-5


@pytest.fixture(autouse=True)
def split_small_leaves(monkeypatch):
    monkeypatch.setattr("ssl_jax.devices.mesh.SMALLEST_SPLIT", 64)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_gradient_and_kept_state_are_equal_on_one_and_eight_devices(name):
    check_mesh(name, (8, 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(1, 8, 1), (2, 4, 1)])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_gradient_and_kept_state_are_equal_under_fsdp(name, sizes):
    check_mesh(name, sizes)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_parameter_that_the_loss_depends_on_learns_and_loss_is_sane(name):
    loss, metrics, gradient, _ = on(name, 1, 1, 1)
    norms = jax.tree.map(lambda g: float(np.abs(g).max()), gradient)
    for module, tree in norms.items():
        assert max(jax.tree.leaves(tree)) > 0, module
    assert metrics.get("z_std", 1.0) > 0.1
    limits = {"byol": (0, 8), "simsiam": (-1, 1), "moco": (0, 2 * np.log(33)), "rotnet": (0, 4), "jigsaw": (0, 4)}
    low, high = limits.get(name, (0, 100))
    assert low <= loss <= high


@pytest.mark.parametrize("name", TAUGHT)
def test_the_teacher_moves_by_its_momentum_and_has_statistics_of_its_own(name):
    objective, before = OBJECTIVES[name], started(name).extra
    after = on(name, 1, 1, 1)[3]
    m = float(objective.momentum_at(Progress(0, 10)))
    assert 0.5 < m < 1
    for start, end in zip(jax.tree.leaves(before["teacher"]), jax.tree.leaves(after["teacher"]), strict=True):
        np.testing.assert_allclose(end, m * start + (1 - m) * 1.5 * start, rtol=1e-5, atol=1e-7)
    assert set(after["teacher"]) == set(objective.modules) - {"predictor"}
    if "batch_stats" in after:
        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), after["batch_stats"], before["batch_stats"])
        assert min(jax.tree.leaves(moved["teacher"])) > 0


@pytest.mark.parametrize("name", ["moco", "swav"])
def test_a_batch_enters_the_queue_and_the_pointer_moves(name):
    before, after = started(name).extra["queue"], on(name, 1, 1, 1)[3]["queue"]
    assert (int(before["next"]), int(after["next"])) == (0, BATCH)
    np.testing.assert_allclose(np.linalg.norm(after["rows"][:BATCH], axis=-1), 1, rtol=1e-4)
    np.testing.assert_array_equal(after["rows"][BATCH:], before["rows"][BATCH:])
    assert np.abs(after["rows"][:BATCH] - before["rows"][:BATCH]).max() > 0.1


@functools.partial(jax.jit, static_argnums=0)
def keys_of(objective, teacher, stats, image, key):
    """Keys [B, out], the teacher's own outputs, and the keys of another draw of the groups."""
    extra = {"teacher": teacher, "batch_stats": {"teacher": stats}}
    direct = objective.teacher(extra, image)[0]["head"][:, 0]
    return objective._keys(extra, image, key)[0], direct, objective._keys(extra, image, jax.random.fold_in(key, 1))[0]


def test_shuffled_keys_come_back_in_their_order_from_groups_drawn_anew():
    objective, extra = OBJECTIVES["moco"], started("moco").extra
    stats, image = extra["batch_stats"]["teacher"], jnp.asarray(batch()["image"][:, None] / 255.0, jnp.float32)
    alike = replace(objective, encoder=NET.clone(norm="none"))  # rows do not meet: neither groups nor order matter
    conv = extra["teacher"]["encoder"]["conv0"] | {"bias": jnp.zeros(8)}
    teacher = extra["teacher"] | {"encoder": {"conv0": conv}}
    found, direct, other = keys_of(alike, teacher, {}, image, jax.random.key(5))
    np.testing.assert_allclose(found, direct, atol=1e-5)
    np.testing.assert_allclose(other, direct, atol=1e-5)
    found, direct, other = keys_of(objective, extra["teacher"], stats, image, jax.random.key(5))
    assert min(float(jnp.abs(found - x).max()) for x in (direct, other)) > 1e-3


@pytest.mark.parametrize("name", ["moco_v3", "barlow_twins", "vicreg", "swav", "lejepa", "curl"])
def test_the_order_of_images_in_the_batch_does_not_matter(name):
    objective, state = OBJECTIVES[name], started(name)
    rng, order = np.random.default_rng(1), np.random.default_rng(2).permutation(BATCH)
    draw = lambda *shape: jnp.asarray(rng.standard_normal((BATCH, *shape)), jnp.float32)  # noqa: E731
    embeddings = {
        "moco_v3": lambda: {"q": draw(2, 8), "k": draw(2, 8)},
        "curl": lambda: {"q": draw(6), "k": draw(6)},
        "swav": lambda: {"global": draw(2, 8), "local": draw(2, 8)},
        "lejepa": lambda: {"global": draw(2, 8), "local": draw(2, 8)},
    }.get(name, lambda: draw(2, 8))()
    turned = jax.tree.map(lambda z: z[order], embeddings)
    loss = jax.jit(lambda z: objective.score(state.params, state.extra, z, Progress(3, 10)).total())
    losses = [loss(embeddings), loss(turned)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-5)


def test_csi_turns_both_views_of_an_image_alike_and_says_by_how_much():
    views, plain = views_of("csi"), views_of("barlow_twins")["image"]
    assert set(np.unique(views["turn"])) == {0, 1, 2, 3}
    for upright, image, turn in zip(plain, views["image"], views["turn"], strict=True):
        np.testing.assert_array_equal(image, np.rot90(upright, int(turn), axes=(1, 2)))


def test_csi_without_its_classifier_is_simclr_on_turned_images():
    state, views, options = started("csi"), views_of("csi"), {"hidden": (16,), "out": 8}

    def loss(objective):
        return jax.jit(lambda: objective.loss(state.params, state.extra, views, None, Progress(0, 10)))()

    whole, alone = loss(CSI(NET, augment(), **options, turn_weight=0.5)), loss(SimCLR(NET, augment(), **options))
    np.testing.assert_allclose(whole.losses["nt_xent"].value, alone.total(), rtol=1e-6)
    outs, _ = OBJECTIVES["csi"].student(state.params, state.extra, views["image"])
    logits = outs["encoder"] @ state.params["classifier"]["dense_out"]["kernel"]
    own = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), views["turn"][:, None, None].astype(int), 2)
    np.testing.assert_allclose(whole.losses["turn"].value, -0.5 * own.mean(), rtol=1e-5)


def test_the_queue_of_swav_takes_part_once_it_is_full_and_its_time_has_come():
    objective = replace(OBJECTIVES["swav"], queue_start=0.5)
    params, extra = started("swav").params, started("swav").extra
    rng = np.random.default_rng(1)
    unit = lambda *shape: normalize(jnp.asarray(rng.standard_normal(shape), jnp.float32))  # noqa: E731
    z = {"global": unit(BATCH, 2, 8), "local": unit(BATCH, 2, 8)}
    queue = extra["queue"] | {"rows": unit(32, 2, 8)}

    @jax.jit
    def loss(filled, step):
        waiting = extra | {"queue": queue | {"filled": filled}}
        return objective.score(params, waiting, z, Progress(step, 10)).total()

    alone = replace(objective, queue=0)
    without = float(jax.jit(lambda: alone.score(params, {}, z, Progress(9, 10)).total())())
    np.testing.assert_allclose([loss(16, 9), loss(32, 4)], without, rtol=1e-6)
    assert abs(loss(32, 5) - without) > 1e-4


REFUSED = {
    "queue=40 is not a multiple of batch_size=16.*32 or 48": replace(OBJECTIVES["moco"], queue=40),
    "queue=8 is not a multiple of batch_size=16.*use 16": replace(OBJECTIVES["swav"], queue=8),
    "cannot be cut into 3 equal BatchNorm groups.*use 2 groups": replace(OBJECTIVES["moco"], bn=3),
    "bn='local'": replace(OBJECTIVES["moco"], bn="local"),
    "tile=5 does not fit a cell of 4 pixels": replace(OBJECTIVES["jigsaw"], tile=5),
    "need views of 13 pixels.*at most 4": replace(OBJECTIVES["relative_position"], patch=5, gap=3),
    "need square views|rotations need square": replace(
        OBJECTIVES["rotnet"], augment=ImageViews((12, 8), (0.3,), (0.4,), {"image": {}})
    ),
    r"rotations need square views, these are \(12, 8\)": replace(
        OBJECTIVES["csi"], augment=ImageViews((12, 8), (0.3,), (0.4,), {"image": {"count": 2}})
    ),
    "pool='mean'": replace(OBJECTIVES["lejepa"], encoder=NET.clone(pool="flatten")),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_compiled(message):
    setup = setup_of(REFUSED[message])

    def step(batch):
        return value_and_gradient(setup, init_state(setup, batch), batch)

    with pytest.raises(UserError, match=message):
        jax.eval_shape(step, batch())


@pytest.mark.parametrize(
    ("name", "field"),
    [("moco", "temperature"), ("moco_v3", "temperature"), ("swav", "temperature"), ("swav", "sinkhorn_temperature")],
)
@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_a_temperature_that_is_not_positive_is_refused(name, field, temperature):
    with pytest.raises(UserError, match=rf"objective.{field}={temperature} must be greater than 0; papers use 0.05"):
        replace(OBJECTIVES[name], **{field: temperature})


def test_few_rows_for_each_prototype_are_told_with_their_number():
    swav = replace(OBJECTIVES["swav"], prototypes=200, queue=32)
    (warning,) = swav.warnings(16)
    assert "prototypes=200: Sinkhorn balances them over 48 rows, 0.24 for each" in warning
    assert "use at most 48 prototypes" in warning
    assert swav.warnings(168) == replace(swav, queue=192).warnings(16) == ()
    assert all(OBJECTIVES[name].warnings(1) == () for name in OBJECTIVES.keys() - {"swav"})


def test_the_trainer_logs_the_warnings_of_an_objective(monkeypatch, caplog):
    def stop(*_):
        raise UserError("far enough")

    monkeypatch.setattr("ssl_jax.training.run.make_mesh", stop)
    recipe = parse(load("swav_conv_fashion:tiny", ["--config.objective.prototypes=1000"]))
    with caplog.at_level("WARNING", logger="ssl_jax"), pytest.raises(UserError, match="far enough"):
        run(recipe, None)
    assert sum("prototypes=1000: Sinkhorn balances them over 96 rows" in line for line in caplog.messages) == 1


def test_objectives_are_frozen_values_with_encoders_and_previews():
    for name, objective in OBJECTIVES.items():
        assert isinstance(objective, Objective)
        assert hash(objective) == hash(replace(objective))
        assert set(objective.encoders()) == ({"student", "teacher"} if name in TAUGHT else {"student"})
        views = views_of(name)
        zeros = {k: np.zeros(v.shape, v.dtype) for k, v in views.items()}
        assert objective.preview(zeros)["views"].rows.shape[:2] == views["image"].shape[:2]


def test_embeddings_are_those_of_the_size_that_the_head_was_made_for():
    flat = ConvNet((8,), (4,), (3,), pool="flatten")
    objective = VICReg(flat, augment(image={"count": 2, "size": 8}), hidden=(16,), out=8)
    setup = setup_of(objective)
    state = jax.eval_shape(partial(init_state, setup), batch())
    embeddings = jax.eval_shape(objective.embeddings, state.params, state.extra, batch())
    assert {name: z.shape for name, z in embeddings.items()} == {"expander": (BATCH, 8)}
    encoder = objective.encoders()["student"]
    features = jax.eval_shape(encoder.features, encoder.variables(state), batch())
    assert features.shape == (BATCH, (SIZE // 4) ** 2 * 8)  # of the whole image, as probes see it


def test_encoders_find_their_variables():
    for name in ("moco", "curl"):
        for encoder in OBJECTIVES[name].encoders().values():
            features = jax.eval_shape(encoder.features, encoder.variables(started(name)), batch())
            assert features.shape[0] == BATCH
