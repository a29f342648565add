"""Towers of several modalities: exact large batches, records that are the same, locked towers, and refusals."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict
from modalities import WORDS, TextEncoder, TokenViews, WaveEncoder, WaveViews, records

from ssl_jax.adapt.base import Frozen
from ssl_jax.data.fit import check_vocabulary
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.pairs import Together
from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.data.text.views import TextViews
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch
from ssl_jax.errors import UserError
from ssl_jax.models.text import TextTransformer
from ssl_jax.models.tower import FrameMean
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Keys, Progress, State, example_keys
from ssl_jax.objectives.bind import Bind
from ssl_jax.objectives.clip import CLIP
from ssl_jax.objectives.siglip import SigLIP
from ssl_jax.optim import optimizers
from ssl_jax.training.step import Setup, init_state, train_step, value_and_gradient

ROWS, NOW = 16, Progress(0, 10)
PARTS = Together({"sound": WaveViews(1), "text": TokenViews(1, hidden=0.0)})
DOUBLE = FrozenDict({"sound": WaveEncoder(dtype="float64"), "text": TextEncoder(dtype="float64")})
ENCODERS = FrozenDict({"sound": WaveEncoder(), "text": TextEncoder()})


def batch_of(rows=ROWS, twins=0):
    """Records, of which the last `twins` have the texts of the first."""
    batch = {name: np.array(x) for name, x in records(rows).items()}
    for name in ("tokens", "valid"):
        batch[name][rows - twins :] = batch[name][:twins]
    return batch


def drawn(setup, batch):
    """Numbers in the place of what `init` draws: compiling it takes longer than all else."""
    state, rng = jax.eval_shape(partial(init_state, setup), batch), np.random.default_rng(0)
    made = jax.tree.map(lambda x: rng.normal(0.1, 0.5, x.shape).astype(x.dtype), (state.params, state.extra))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
    return zeros._replace(params=made[0], extra=made[1])


@pytest.mark.parametrize("method", [partial(CLIP, method="hierarchical"), SigLIP], ids=["clip", "siglip"])
def test_a_cached_gradient_on_eight_devices_is_that_of_one_for_all_rows_and_both_towers(method):
    batch = batch_of(twins=3)
    with jax.enable_x64(True):
        objective = method(DOUBLE, PARTS, out=6)
        plain = Setup(replace(objective, method="plain"), optax.sgd(0.1), 3, 10)
        cached = Setup(objective, optax.sgd(0.1), 3, 10, gradient_cache=2)
        state = drawn(plain, batch)
        out, gradient = jax.jit(partial(value_and_gradient, plain))(state, batch)
        mesh = make_mesh(2, 4)
        with jax.set_mesh(mesh):
            ours, split = jax.jit(partial(value_and_gradient, cached))(state, place_batch(batch, batch_sharding(mesh)))
    np.testing.assert_allclose(ours.total(), out.total(), rtol=1e-6)
    norm = float(optax.global_norm(gradient))
    for path, g in jax.tree_util.tree_leaves_with_path(gradient):
        theirs = split
        for key in path:
            theirs = theirs[key.key]
        assert np.abs(theirs - g).max() <= 1e-6 * norm, path
        assert np.abs(g).max() > 0, path


def test_what_is_the_same_counts_neither_as_partner_nor_as_stranger():
    rng = np.random.default_rng(1)
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, 6, 4)))
    same = np.arange(24).reshape(6, 2, 2)
    same[4, 1], same[5, 0] = same[0, 1], same[2, 0]  # 4 has the text of 0, 5 the picture of 2
    counts = np.ones((6, 6), bool)
    counts[[0, 4, 2, 5], [4, 0, 5, 2]] = False
    s = u @ v.T / 0.07
    denominators = [np.log((np.exp(s) * counts).sum(axis=axis)) for axis in (0, 1)]
    info_nce = np.mean(denominators) - np.trace(s) / 6
    logits = 10 * u @ v.T - 10
    sigmoid = (np.log1p(np.exp(logits)) * counts).sum() / 6 - np.trace(logits) / 6
    for objective, expected in ((CLIP(ENCODERS, PARTS), info_nce), (SigLIP(ENCODERS, PARTS), sigmoid)):
        found = objective.compared(objective.start(), *map(jnp.asarray, (u, v, same)))
        np.testing.assert_allclose(found.value, expected, rtol=1e-5)


def test_what_is_the_same_is_seen_by_the_records_own_content():
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 4, 1), np.uint8)
    batch = {"image": images[[0, 1, 0, 2]], "tokens": np.array([[1, 2], [1, 3], [2, 1], [1, 3]])}
    augment = Together(
        {"image": ImageViews(4, (0.5,), (0.5,), {"image": {}}), "text": TextViews({"size": 9, "pad": 0})}
    )
    found = np.asarray(jax.jit(augment.contents)(batch))
    equal = (found[:, None] == found).all(-1)
    np.testing.assert_array_equal(equal[..., 0], np.array([0, 1, 0, 2])[:, None] == [0, 1, 0, 2])
    np.testing.assert_array_equal(equal[..., 1], np.array([0, 1, 2, 1])[:, None] == [0, 1, 2, 1])
    crops, picture = augment.host(), {"image": images[0]}
    cut = [
        crops(record, crops.draws(np.array([[0, key]], np.uint32))[0]) for record, key in ((picture, 1), (picture, 2))
    ]
    np.testing.assert_array_equal(cut[0]["image/same"], cut[1]["image/same"])
    assert "image" not in cut[0]


@cache
def trained(**options):
    """States before and after two steps with decay."""
    adamw = optimizers.adamw(lambda step: 1e-2, lambda step: 0.1)
    setup = Setup(CLIP(ENCODERS, PARTS, out=8, bare=("sound",), **options), adamw, 0, 10)
    before = drawn(setup, batch_of())
    before = before._replace(opt_state=setup.optimizer.init(before.params))
    step, after = jax.jit(partial(train_step, setup)), before
    for seed in range(2):
        after, metrics = step(after, records(ROWS, seed))
    return before, after, metrics


def test_a_locked_tower_stays_to_the_bit_and_has_no_moments():
    before, after, metrics = trained(adapt=FrozenDict({"sound": Frozen()}))
    jax.tree.map(np.testing.assert_array_equal, before.extra["frozen"], after.extra["frozen"])
    assert before.params["sound"] == after.params["sound"] == {}
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(after.opt_state)]
    assert any("'text'" in name for name in names)
    assert not any("'sound'" in name for name in names)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before.params, after.params)
    assert min(jax.tree.leaves(moved)) > 0
    assert np.isfinite(metrics["loss"])


def test_the_scale_keeps_its_bounds_and_every_tower_has_an_embedding():
    objective = CLIP(ENCODERS, PARTS, out=6, scale=50, most=20)
    batch = batch_of()
    state = drawn(Setup(objective, optax.sgd(0.1), 0, 10), batch)
    for value, kept in ((9.0, np.log(20)), (-1.0, 0.0)):
        params = state.params | {"logit": {"sound_text": {"scale": jnp.float32(value)}}}
        out = type("Out", (), {"batch_stats": ()})
        assert float(objective.update(params, {}, out, NOW).params["logit"]["sound_text"]["scale"]) == pytest.approx(
            kept
        )
    found = objective.embeddings(state.params, {}, batch)
    np.testing.assert_allclose(np.linalg.norm(found["text"], axis=1), 1, rtol=1e-5)
    encoder = objective.encoders()["text_embedding"]
    seen = encoder.features(encoder.variables(State(state.params, {})), batch)
    np.testing.assert_array_equal(seen, found["text"])
    views = objective.views(Keys(example_keys(0, batch["_epoch"], batch["_id"]), jax.random.key(0)), batch, NOW)
    z = objective.embed(state.params, {}, views, jax.random.key(0))[0]["text"]
    np.testing.assert_allclose(z / np.linalg.norm(z, axis=1, keepdims=True), found["text"], rtol=1e-4, atol=1e-5)
    (panel,) = objective.show(state.params, {}, views).values()
    assert panel.rows.shape == (1, 1, 12 * ROWS, 12 * ROWS, 1)


def test_three_modalities_are_bound_by_pairs():
    class Second(WaveViews):
        inputs = ("second",)

        def __call__(self, keys, batch):
            return {"second": batch["wave"][:, None]}

        def evaluation(self, batch, policy=""):
            return {"second": batch["wave"]}

    parts = Together({"sound": WaveViews(1), "text": TokenViews(1), "other": Second(1)})
    encoders = FrozenDict(dict(ENCODERS) | {"other": WaveEncoder()})
    objective = Bind(encoders, parts, out=6)
    assert objective.pairs == (("sound", "text"), ("sound", "other"))
    batch = batch_of()
    setup = Setup(objective, optax.sgd(0.1), 0, 10)
    out, gradient = jax.jit(partial(value_and_gradient, setup))(drawn(setup, batch), batch)
    assert set(out.losses) == {"sound_text", "sound_other"}
    assert set(out.metrics) == {"sound_text_scale", "sound_other_scale"}
    assert all(np.abs(gradient["logit"][name]["scale"]) > 0 for name in out.losses)
    for pairs, said in (((("sound", "sight"),), "are no two of"), ((("sound", "text"),), "other is in no pair")):
        with pytest.raises(UserError, match=said):
            Bind(encoders, parts, out=6, pairs=pairs)


def test_siglip_on_eight_devices_gathers_nothing_and_holds_no_square_of_the_batch():
    rows, width = 64, 12
    mesh = make_mesh(8)
    with jax.set_mesh(mesh):
        objective = SigLIP(ENCODERS, PARTS, out=width)
        place = lambda *shape, kind="float32": jax.ShapeDtypeStruct(shape, kind, sharding=batch_sharding(mesh))  # noqa: E731
        shapes = place(rows, width), place(rows, width), place(rows, 2, 2, kind="int32")
        loss = jax.value_and_grad(lambda u, v, same: objective.compared(objective.start(), u, v, same).value, (0, 1))
        text = jax.jit(loss).lower(*shapes).compile().as_text()
    assert "all-gather" not in text
    assert "collective-permute" in text
    sizes = [tuple(map(int, found.split(","))) for found in re.findall(r"(?:f32|pred)\[(\d+(?:,\d+)*)\]", text)]
    assert (8, 8) in [s[-2:] for s in sizes]
    assert all(s.count(rows) == 0 for s in sizes), "a whole batch on one device"


SCRIPT = """
import jax, sys
from flax.core import FrozenDict
from ssl_jax.devices.mesh import batch_sharding, make_mesh
from ssl_jax.losses.streamed.contrastive import sigmoid_pairwise
count = jax.device_count()
mesh = make_mesh(count)
with jax.set_mesh(mesh):
    place = lambda *shape, kind="float32": jax.ShapeDtypeStruct(shape, kind, sharding=batch_sharding(mesh))
    shapes = place(16 * count, 64), place(16 * count, 64), place(16 * count, 2, 2, kind="int32")
    loss = jax.value_and_grad(lambda u, v, same: sigmoid_pairwise(u, v, 10.0, -10.0, "ring", same).value, (0, 1))
    found = jax.jit(loss).lower(*shapes).compile().memory_analysis()
print(found.temp_size_in_bytes + found.argument_size_in_bytes)
"""


@pytest.mark.slow
def test_the_memory_of_siglips_loss_on_a_device_is_the_same_for_8_and_512_of_them():
    def bytes_on(devices):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=os.environ | flags, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    few, many = bytes_on(8), bytes_on(512)
    assert many <= 1.05 * few


def test_bad_towers_are_refused_with_a_remedy():
    image = ImageViews(8, (0.5,), (0.5,), {"image": {}})
    text = TextViews({"size": 9, "pad": 0})
    pair = Together({"image": image, "text": text})
    towers = FrozenDict({"image": ViT(8, 1, 2, 8, 4, remat="none"), "text": TextTransformer(9, 8, 1, 2, 8, 4)})
    batch = {"image": np.zeros((4, 8, 8, 3), np.uint8), "tokens": np.ones((4, 6), np.int32)}

    def begun(**options):
        objective = CLIP(towers, pair, **options)
        keys = Keys(jax.random.split(jax.random.key(0), 4), jax.random.key(0))
        return jax.eval_shape(lambda: objective.init(jax.random.key(0), objective.views(keys, batch, NOW)))

    alike = Arrays(
        {
            "image": np.random.default_rng(0).integers(0, 9, (4, 8, 8, 3)).astype(np.uint8),
            "tokens": np.ones((4, 3), int),
        }
    )
    cases = (
        (lambda: Together({"image": image}), "name an augmentation for each of two modalities"),
        (lambda: Together({"image": image, "other": image}), "two of image, other give 'image'"),
        (lambda: CLIP(ViT(), pair), "model has one model; name a model for each"),
        (lambda: CLIP(FrozenDict({"image": ViT(), "words": ViT()}), pair), "model has image, words"),
        (lambda: CLIP(towers, pair, bare=("sound",)), "there is no tower 'sound'"),
        (lambda: CLIP(towers, pair, scale=0.0), "objective.scale=0.0 must be greater than 0"),
        (lambda: begun(), r"model.text.length=4, and the records have rows of 6 tokens"),
        (lambda: CLIP(towers, pair).check_source(alike), "4 records that were looked at have the same text"),
        (lambda: CLIP(towers, pair).check_source(Arrays({"image": batch["image"]})), "no field 'tokens'"),
        (lambda: check_vocabulary(Together({"image": image, "text": TextViews({"size": 99})}), towers), "has 99 tokens"),
    )  # fmt: skip
    for refused, said in cases:
        with pytest.raises(UserError, match=said):
            refused()


def test_clips_are_the_mean_of_their_frames():
    tower = FrameMean(ViT(8, 1, 2, 8, 4, remat="none"))
    clip = np.random.default_rng(0).normal(size=(2, 3, 8, 8, 3)).astype(np.float32)
    variables = tower.init(jax.random.key(0), clip, method="features")
    one = lambda i: tower.encoder.apply({"params": variables["params"]["encoder"]}, clip[:, i], method="features")  # noqa: E731
    expected = np.mean([one(i) for i in range(3)], axis=0)
    np.testing.assert_allclose(tower.apply(variables, clip, method="features"), expected, rtol=1e-4, atol=1e-5)


def test_padding_that_ends_a_text_belongs_to_it_once_and_siglip_reads_all_of_it():
    tokens = np.array([[5, 7, 9, 9], [9, 9, 9, 9]])
    clip = TextViews({"size": 10, "pad": 9, "end": 9}).evaluation({"tokens": tokens})
    np.testing.assert_array_equal(clip["segments"], [[1, 1, 1, 0], [1, 0, 0, 0]])
    usual = TextViews({"size": 10, "pad": 9, "end": 8}).evaluation({"tokens": tokens})
    np.testing.assert_array_equal(usual["segments"], [[1, 1, 0, 0], [0, 0, 0, 0]])
    siglip = TextViews({"size": 10, "pad": 9, "end": 9}, padding=True).evaluation({"tokens": tokens})
    assert (siglip["segments"] == 1).all()
    assert (siglip["positions"] == np.arange(4)).all()
    assert WORDS > 9
