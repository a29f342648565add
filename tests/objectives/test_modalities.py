"""Methods know no modality: what a view is, the augmentation says, also where it is several arrays."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from modalities import LENGTH, WORDS, TextEncoder, TokenViews, WaveEncoder, WaveViews, records

from ssl_jax.data.panels import Signals, Texts
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch
from ssl_jax.objectives.byol import BYOL
from ssl_jax.objectives.lejepa import LeJEPA
from ssl_jax.objectives.shared.forward import forward_views, init_variables, single
from ssl_jax.objectives.simclr import SimCLR
from ssl_jax.objectives.supervised import Supervised
from ssl_jax.training.step import Setup, init_state, train_step

BATCH = 16
MODALITIES = {"text": (TextEncoder(), TokenViews()), "wave": (WaveEncoder(norm="batch"), WaveViews())}
METHODS = {
    "simclr": partial(SimCLR, hidden=(), out=4, head_norm="none", loss_method="plain"),
    "byol": partial(BYOL, hidden=8, out=8, head_norm="none"),
    "supervised": partial(Supervised, classes=4),
}


def objective_of(method, modality):
    return METHODS[method](*MODALITIES[modality])


def started(setup):
    """A state with numbers in the place of those that `init` draws: compiling it takes longer than training."""
    rng, state = np.random.default_rng(0), jax.eval_shape(partial(init_state, setup), records(BATCH))
    drawn = jax.tree.map(lambda x: rng.uniform(0.1, 0.5, x.shape).astype(x.dtype), (state.params, state.extra))
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
    return zeros._replace(params=drawn[0], extra=drawn[1])


@cache
def trained(method, modality, devices=1):
    """Parameters before and after two steps, and the losses."""
    setup = Setup(objective_of(method, modality), optax.sgd(0.1), seed=1, total_steps=2)
    mesh, state, losses = make_mesh(devices, devices=jax.devices()[:devices]), started(setup), []
    before, step = state.params, jax.jit(partial(train_step, setup))
    with jax.set_mesh(mesh):
        state = jax.device_put(state, jax.NamedSharding(mesh, jax.P()))
        for seed in range(2):
            state, metrics = step(state, place_batch(records(BATCH, seed), batch_sharding(mesh)))
            losses.append(float(metrics["loss"]))
    return before, jax.tree.map(np.asarray, state.params), losses


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", METHODS)
def test_methods_train_on_any_modality(method, modality):
    before, after, losses = trained(method, modality)
    assert np.isfinite(losses).all()
    assert before.keys() == objective_of(method, modality).modules.keys()
    for module in before:
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before[module], after[module])
        assert max(jax.tree.leaves(moved)) > 1e-6, module


def test_views_of_several_arrays_give_the_same_on_one_and_eight_devices():
    (_, ours, losses), (_, theirs, others) = trained("byol", "text"), trained("byol", "text", 8)
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_arrays_of_a_view_stay_together_also_in_groups_of_batchnorm():
    """Each view is encoded with its own `valid`: what stands where nothing is valid leaves every output alone."""
    rng = np.random.default_rng(0)
    view = (rng.integers(0, WORDS, (8, 2, LENGTH)), rng.random((8, 2, LENGTH)) < 0.7)
    encoder, normed = TextEncoder(), TextEncoder(norm="batch")
    params, stats = jax.jit(partial(init_variables, normed, train=True))(jax.random.key(1), *single(view))

    @jax.jit
    def encoded(view):
        out, _ = forward_views(encoder, params, None, view, "features")
        alone = [encoder.apply({"params": params}, *single(view, v), method="features") for v in range(2)]
        groups, _ = forward_views(normed, params, stats, view, "features", 2)
        halves = [tuple(x[rows] for x in view) for rows in (slice(0, 4), slice(4, 8))]
        parts = [forward_views(normed, params, stats, half, "features", "separate")[0] for half in halves]
        return out, jnp.stack(alone, axis=1), groups, jnp.concatenate(parts)

    out, alone, groups, parts = encoded(view)
    np.testing.assert_allclose(out, alone, atol=1e-6)
    np.testing.assert_allclose(groups, parts, atol=1e-5)
    padded = encoded((np.where(view[1], view[0], 3), view[1]))[0]
    np.testing.assert_array_equal(padded, out)


def test_views_of_other_kinds_are_found_by_their_inputs():
    objective = LeJEPA(TextEncoder(), TokenViews(short=5), directions=4, hidden=(8,), out=8)
    setup = Setup(objective, optax.sgd(0.1), 0, 1)
    state = jax.eval_shape(partial(init_state, setup), records(BATCH))
    views, key = jax.eval_shape(setup.views, state, records(BATCH))
    assert [tuple(x.shape for x in view) for view in objective.resolutions(views)] == [
        ((BATCH, 2, LENGTH),) * 2, ((BATCH, 2, 5),) * 2,
    ]  # fmt: skip
    z, _ = jax.eval_shape(objective.embed, state.params, state.extra, views, key)
    assert {name: x.shape for name, x in z.items()} == {"global": (BATCH, 2, 8), "local": (BATCH, 2, 8)}


@pytest.mark.parametrize(("modality", "width", "panel"), [("text", WORDS, Texts), ("wave", 4, Signals)])
def test_encoders_embeddings_plain_numbers_and_panels_come_from_the_augmentation(modality, width, panel):
    objective = objective_of("byol", modality)
    batch = {k: v for k, v in records(BATCH).items() if not k.startswith("_")}
    state = jax.eval_shape(partial(init_state, Setup(objective, optax.sgd(0.1), 0, 1)), records(BATCH))
    for encoder in objective.encoders().values():
        assert jax.eval_shape(encoder.features, encoder.variables(state), batch).shape == (BATCH, 8)
        assert jax.eval_shape(encoder.raw, batch).shape == (BATCH, width)
    embeddings = jax.eval_shape(objective.embeddings, state.params, state.extra, batch)
    assert {name: z.shape for name, z in embeddings.items()} == {"projector": (BATCH, 8)}
    views = jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype),
        jax.eval_shape(objective.augment, jax.random.split(jax.random.key(0), BATCH), batch),
    )
    (shown,) = objective.preview(views).values()
    assert isinstance(shown, panel)
    assert len(shown.rows) == BATCH
