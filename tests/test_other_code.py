"""What a recipe can say otherwise than we do, for those who compare with other code."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.image import ops
from ssl_jax.data.image.boxes import BOX_DRAWS, random_box
from ssl_jax.data.image.view_policy import ViewPolicy, draws_of
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.order import order
from ssl_jax.data.pipeline import Reader, batches
from ssl_jax.data.sources import Arrays
from ssl_jax.errors import UserError
from ssl_jax.models.conv import ConvNet
from ssl_jax.models.heads import ProjectionHead
from ssl_jax.models.resnet import ResNet
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Out, Progress
from ssl_jax.objectives.byol import BYOL
from ssl_jax.objectives.dino import DINO
from ssl_jax.objectives.shared.ema import cosine_momentum, ending
from ssl_jax.objectives.shared.joint import JointEmbedding
from ssl_jax.objectives.simclr import SimCLR
from ssl_jax.objectives.swav import SwAV
from ssl_jax.optim.schedules import ahead, warmup_cosine
from ssl_jax.recipe import load, parse
from ssl_jax.recipe.schema import Duration

NET = ConvNet((4,), (2,), (3,))
AUGMENT = ImageViews(8, (0.0,), (1.0,), {"image": {"count": 2}})
KEY = jax.random.key(0)


def test_bn_of_any_method():
    """Views that share statistics are not the views that have their own."""
    views = {"image": jax.random.normal(KEY, (4, 2, 8, 8, 1)) * jnp.array([1.0, 3.0]).reshape(1, 2, 1, 1, 1)}
    joint = SimCLR(ConvNet((4,), (2,), (3,), norm="group"), AUGMENT, hidden=(4,), out=3)
    params, extra = jax.jit(joint.init)(KEY, views)
    methods = {bn: replace(joint, bn=bn) for bn in ("joint", "separate", 2)}
    all_heads = jax.jit(lambda: [m.student(params, extra, views["image"])[0]["head"] for m in methods.values()])
    z = dict(zip(methods, all_heads(), strict=True))
    assert float(jnp.abs(z["joint"] - z["separate"]).max()) > 1e-2
    assert float(jnp.abs(z[2] - z["separate"]).max()) > 1e-2
    np.testing.assert_allclose(z["separate"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z["joint"].mean((0, 1)), 0, atol=1e-5)


def test_heads_that_start_as_torchs():
    params = ProjectionHead((64,), 32, "none", initializer="torch").init(KEY, jnp.ones((1, 16)))["params"]
    for layer, inputs in (("dense0", 16), ("dense_out", 64)):
        for part in params[layer].values():
            bound = inputs**-0.5
            assert bound * 0.8 < float(jnp.abs(part).max()) <= bound
            assert float(part.std()) == pytest.approx(bound / 3**0.5, rel=0.25)


def test_biases_of_heads():
    byol = BYOL(NET, AUGMENT, 4, 3, head_bias=False, head_out_bias=True)
    head = byol.modules["projector"]
    assert (head.bias, head.out_bias, BYOL(NET, AUGMENT).modules["projector"].bias) == (False, True, True)


def test_what_a_method_does_not_look_at_is_refused():
    vit = ViT(width=8, depth=1, heads=2, mlp_dim=8, patch=4)
    for option in ({"bn": "joint"}, {"head_bias": True}):
        with pytest.raises(UserError, match=rf"objective.{next(iter(option))}=.*DINO has.*leave it out"):
            DINO(vit, AUGMENT, **option)
    with pytest.raises(UserError, match="initializer='kaiming' is unknown"):
        ProjectionHead(initializer="kaiming").init(KEY, jnp.ones((2, 2)))


def test_prototypes_that_are_overwritten_stay_of_unit_length():
    plain = SwAV(NET, AUGMENT, prototypes=5, hidden=(4,), out=3)
    views, lengths = {"image": jnp.ones((4, 2, 8, 8, 1))}, {}
    for overwrite in (False, True):
        objective = replace(plain, overwrite_prototypes=overwrite)
        params, extra = objective.init(KEY, views)
        moved = jax.tree.map(lambda x: 3 * x, params)
        after, _ = objective.update(moved, extra, Out({}), Progress(0, 1))
        lengths[overwrite] = [jnp.linalg.norm(p["prototypes"]["kernel"], axis=0) for p in (params, after)]
    np.testing.assert_allclose(lengths[True], 1, rtol=1e-6)
    np.testing.assert_allclose(lengths[False][1], 3 * lengths[False][0], rtol=1e-6)


def test_momentum_ends_after_the_last_step_or_with_it():
    at = lambda step, until: float(cosine_momentum(0.9, 1.0, ending(Progress(step, 8), until)))  # noqa: E731
    assert at(7, "total") < at(8, "total") == 1.0 == at(7, "last")
    assert at(0, "total") == at(0, "last") == pytest.approx(0.9)
    assert at(1, "last") == pytest.approx(1 - 0.1 * (1 + np.cos(np.pi / 7)) / 2)
    with pytest.raises(UserError, match="momentum_until='end' is unknown; use total or last"):
        at(0, "end")


def test_warm_up_that_counts_from_one():
    rates = [float(ahead(1, 4, warmup_cosine(1.0, 8, 4))(jnp.asarray(step))) for step in range(6)]
    np.testing.assert_allclose(rates, [0.25, 0.5, 0.75, 1.0, 1.0, warmup_cosine(1.0, 8, 4)(5)], rtol=1e-6)


def test_crops_that_are_not_antialiased_read_the_nearest_pixels():
    ramp = jnp.arange(8.0)[None, :, None, None] * jnp.ones((1, 8, 8, 1))
    cut = lambda antialias: ops.resized_crop(ramp, *jnp.array([[0], [0], [8], [8]]), (2, 2), "bilinear", antialias)  # noqa: E731
    np.testing.assert_allclose(cut(False)[0, :, 0, 0], [1.5, 5.5])
    assert float(cut(True)[0, 0, 0, 0]) > 1.6  # the wider filter is cut off at the border
    with pytest.raises(UserError, match=r"data\.resize=fast"):
        ViewPolicy(size=8, antialias=False).on_host("image")


def test_boxes_rounded_down_are_the_same_on_host_and_device():
    draws = np.random.default_rng(0).random((64, BOX_DRAWS)).astype(np.float32)
    sizes = {}
    for rounding in ("nearest", "down"):
        boxes = np.stack(ops.random_boxes(draws, 20, 30, (0.2, 0.6), (0.75, 1.33), rounding), axis=1)
        host = np.array([random_box(row, 20, 30, (0.2, 0.6), (0.75, 1.33), rounding) for row in draws])
        assert (np.abs(boxes - host).max(1) == 0).mean() > 0.95  # float32 beside float64
        sizes[rounding] = boxes[:, 2:]
    smaller = sizes["nearest"] - sizes["down"]
    assert 0.4 < smaller.mean() < 0.6


def test_jitter_in_its_order():
    policy = ViewPolicy(jitter=(0.4, 0.4, 0.4, 0.1), jitter_order="fixed")
    keys, x = jax.random.split(KEY, 4)[:, None], jax.random.uniform(KEY, (4, 5, 5, 3))
    u = draws_of(keys)[:, 25:34][:, 1:]
    expected = ops.saturation(
        ops.contrast(ops.brightness(x, 0.6 + 0.8 * u[:, 0]), 0.6 + 0.8 * u[:, 1]), 0.6 + 0.8 * u[:, 2]
    )
    np.testing.assert_allclose(policy(keys, x)[:, 0], ops.hue(expected, -0.1 + 0.2 * u[:, 3]), atol=1e-5)
    assert float(jnp.abs(replace(policy, jitter_order="random")(keys, x)[:, 0] - policy(keys, x)[:, 0]).max()) > 1e-3


def test_batches_that_end_with_the_epoch():
    """Each epoch: whole batches of different records, others left out each time; resumed anywhere the same."""
    source = Arrays({"x": np.arange(11)})
    stream = batches(source, seed=3, batch_size=4, drop_last=True)
    seen = [next(stream) for _ in range(6)]
    assert [set(b["_epoch"]) for b in seen] == [{0}, {0}, {1}, {1}, {2}, {2}]
    epochs = [set(np.concatenate([a["_id"], b["_id"]])) for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert [len(e) for e in epochs] == [8, 8, 8]
    assert len({frozenset(e) for e in epochs}) > 1
    np.testing.assert_array_equal(epochs[0], set(order(3, np.arange(8), 11)[0]))
    resumed = batches(source, seed=3, batch_size=4, drop_last=True, start_step=3)
    for before in seen[3:]:
        np.testing.assert_array_equal(next(resumed)["_id"], before["_id"])
    halves = (Reader(source, 3, 4, process, 2, True)(3, BadRecords(0.0)) for process in (0, 1))
    np.testing.assert_array_equal(np.concatenate([half["_id"] for half in halves]), seen[3]["_id"])
    with pytest.raises(UserError, match="11 records fill no batch of 12"):
        next(batches(source, seed=0, batch_size=12, drop_last=True))


def test_epochs_of_whole_batches():
    """Ten epochs over 11 records in batches of 4 are 20 steps with drop_last, and 28 without."""
    recipe = replace(parse(load("simclr_conv_fashion:tiny")), total_examples=None, total_epochs=10, batch_size=4)
    assert recipe.steps(11) == 28
    whole = replace(recipe, data=replace(recipe.data, drop_last=True))
    assert whole.steps(11) == 20
    assert whole.duration(Duration(1, "epochs"), 11) == 2


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 4), ("small", 16), ("small_pool", 8)])
def test_small_residual_networks(stem, side):
    """lightly's ResNet-9 has one block in each of four stages; two stages halve once."""
    model = ResNet(18, stem, 4, blocks=(1, 1), last_norm=1.0)
    x = jnp.zeros((1, 16, 16, 3))
    variables = jax.eval_shape(model.init, KEY, x)
    assert jax.eval_shape(model.apply, variables, x).shape == (1, side // 2, side // 2, 8)
    assert {k for k in variables["params"] if k.startswith("stage")} == {"stage1_block1", "stage2_block1"}


def test_the_last_norm_starts_where_it_is_said():
    for value in (0.0, 1.0):
        params = ResNet(18, "small", 4, blocks=(1,), last_norm=value).init(KEY, jnp.zeros((1, 4, 4, 1)))["params"]
        np.testing.assert_array_equal(params["stage1_block1"]["norm_last"]["bn"]["scale"], value)


def test_a_bn_without_a_type_is_refused_where_a_method_is_written():
    with pytest.raises(TypeError, match=r"Mine: write bn: BatchNormRule = field"):
        type("Mine", (JointEmbedding,), {"bn": "joint"})
