"""Encoders of series: crops and padding are not there for TS2Vec's, PatchTST's channels do not see each other, nor levels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_jax.data.series.views import SeriesViews
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch
from ssl_jax.errors import UserError
from ssl_jax.models.patch_tst import PatchHead, PatchTransformer, Surprise
from ssl_jax.models.series import DilatedEncoder
from ssl_jax.models.windows import instance_normal, joined, patches_of, places_of, spectrum
from ssl_jax.objectives.patchtst import PatchTST
from ssl_jax.objectives.ts2vec import TS2Vec
from ssl_jax.training.step import Setup, init_state, train_step

RNG = np.random.default_rng(0)
STEPS = 24
SERIES = RNG.normal(size=(8, STEPS, 2)).astype(np.float32)
VALID = (RNG.random((8, STEPS, 2)) < 0.9) & (np.arange(STEPS)[:, None] < RNG.integers(12, STEPS + 1, (8, 1, 1)))
BATCH = {"series": SERIES, "valid": VALID, "_id": np.arange(8, dtype=np.int32), "_epoch": np.zeros(8, np.int32)}
DILATED = DilatedEncoder(4, 2, 6)
PATCHES = PatchTransformer(8, 1, 2, 16, 4, 4, STEPS)


def test_what_lies_beside_a_crop_or_in_the_padding_is_not_there():
    whole, inside = np.ones((8, STEPS, 2), bool), np.zeros((8, STEPS), bool)
    inside[:, 5:17] = True

    @jax.jit
    def states(x):
        variables = DILATED.init(jax.random.key(0), x, whole)
        run = partial(DILATED.apply, variables)
        masked, alone = run(x, whole, inside=inside)[:, 5:17], run(x[:, 5:17], whole[:, 5:17])
        padded = run(jnp.pad(x, ((0, 0), (0, 6), (0, 0))), np.pad(whole, ((0, 0), (0, 6), (0, 0))))[:, :STEPS]
        missing = run(x, whole & (jnp.arange(STEPS) != 3)[:, None])
        return masked, alone, padded, run(x, whole), missing

    masked, alone, padded, plain, missing = states(SERIES)
    np.testing.assert_allclose(masked, alone, atol=1e-5)
    np.testing.assert_allclose(padded, plain, atol=1e-5)
    assert np.abs(missing - plain)[:, 3].max() > 1e-3
    assert np.abs(plain[:, 5:17] - alone).max() > 1e-3


def test_a_channel_goes_through_alone_and_level_and_scale_are_taken_off():
    whole, hidden = np.ones((8, STEPS, 2), bool), np.zeros((8, 2, 6), bool)
    hidden[:, 0, 2] = True

    @jax.jit
    def states(x):
        variables = PATCHES.init(jax.random.key(0), x, whole)
        run = partial(PATCHES.apply, variables)
        other = x.at[:, :, 1].set(-3.0 * jnp.flip(x[:, :, 1], 1))
        gone = whole & (jnp.arange(STEPS)[:, None] < 20)
        return (
            run(x, whole),
            run(other, whole),
            run(5.0 + 3.0 * x, whole),
            run(x, whole, hidden),
            run(x, gone),
            run(x + 9.0 * (~gone), gone),
            [PATCHES.clone(cells=cells).apply(variables, x, whole, method="features") for cells in (1, 2)],
        )

    plain, other, scaled, masked, gone, noise, features = states(jnp.asarray(SERIES))
    for cells, found in zip((1, 2), features, strict=True):
        means = plain.reshape(8, 2, cells, 6 // cells, -1).mean(axis=3)
        np.testing.assert_allclose(found, means.reshape(8, -1), atol=1e-5)
    np.testing.assert_allclose(plain[:, 0], other[:, 0], atol=1e-5)
    assert np.abs(plain - other)[:, 1].max() > 1e-2
    np.testing.assert_allclose(scaled, plain, atol=1e-4)
    np.testing.assert_array_equal(masked[:, 1], plain[:, 1])
    assert np.abs(masked - plain)[:, 0].max() > 1e-2
    np.testing.assert_allclose(gone[:, :, :5], noise[:, :, :5], atol=1e-5)
    with pytest.raises(UserError, match=r"model.length=24, and windows have 20 steps"):
        jax.eval_shape(lambda: PATCHES.init(jax.random.key(0), SERIES[:, :20], whole[:, :20]))


def test_patches_end_with_the_window_and_are_joined_again():
    assert places_of(11, 4, 3)[0].tolist() == [1, 2, 3, 4]
    assert places_of(11, 4, 3)[-1].tolist() == [7, 8, 9, 10]
    x = jnp.asarray(SERIES)
    np.testing.assert_allclose(joined(patches_of(x, 6, 3), STEPS, 3), SERIES, atol=1e-6)
    normal = instance_normal(x, jnp.asarray(VALID))
    np.testing.assert_allclose(normal.back(normal.series)[VALID], SERIES[VALID], atol=1e-5)
    tone = jnp.sin(2 * jnp.pi * 4 * jnp.arange(STEPS) / STEPS)[None, :, None]
    assert int(spectrum(tone, jnp.ones_like(tone, bool))[0, :, 0].argmax()) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective", [TS2Vec(DILATED, SeriesViews()), PatchTST(PATCHES, SeriesViews())], ids=["ts2vec", "patchtst"]
)
def test_one_and_eight_devices_learn_the_same_of_series_of_uneven_length(objective):
    losses, average = {}, {}
    setup = Setup(objective, optax.sgd(0.1), seed=1, total_steps=2)
    start = jax.device_get(jax.jit(partial(init_state, setup))(BATCH))
    for devices in (1, 8):
        mesh = make_mesh(devices, devices=jax.devices()[:devices])
        with jax.set_mesh(mesh):
            state, step = jax.device_put(start, jax.NamedSharding(mesh, jax.P())), jax.jit(partial(train_step, setup))
            for _ in range(2):
                state, metrics = step(state, place_batch(BATCH, batch_sharding(mesh)))
        losses[devices], average[devices] = float(metrics["loss"]), jax.device_get(state)
    assert losses[1] == pytest.approx(losses[8], rel=1e-5)
    for a, b in zip(jax.tree.leaves(average[1].params), jax.tree.leaves(average[8].params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_surprise_of_a_value_does_not_depend_on_its_own_patch():
    module, whole = Surprise(PATCHES, PatchHead(4), groups=3), np.ones((8, STEPS, 2), bool)

    @jax.jit
    def errors(x):
        variables = module.init(jax.random.key(0), x, whole, method="features")
        apart = variables["params"] | {"head": jax.tree.map(jnp.zeros_like, variables["params"]["head"])}
        return module.apply({**variables, "params": apart}, x, whole, method="features")

    expected = np.square(instance_normal(jnp.asarray(SERIES), jnp.asarray(whole)).series).mean(-1)
    np.testing.assert_allclose(errors(jnp.asarray(SERIES))[..., 0], expected, rtol=1e-4)
