"""The step is the same function on every mesh, and a skipped step leaves no trace."""

import functools
from contextlib import closing
from dataclasses import dataclass, fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.image.views import ImageViews
from ssl_jax.devices.mesh import batch_sharding, make_mesh, place_batch, state_shardings
from ssl_jax.errors import UserError
from ssl_jax.losses.mean import mean_of
from ssl_jax.losses.streamed import rounds
from ssl_jax.models.conv import ConvNet
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.base import Objective, Out, Pairwise
from ssl_jax.objectives.ijepa import IJEPA
from ssl_jax.objectives.mae import MAE
from ssl_jax.objectives.simclr import SimCLR
from ssl_jax.optim import optimizers, schedules
from ssl_jax.training.step import Setup, TrainState, init_state, train_step, train_steps, value_and_gradient

BATCH = 16


def augment(count=1, **policy):
    policy = {"count": count, "scale": (0.3, 1.0), "flip": 0.5} | policy
    return ImageViews(16, (0.3,), (0.4,), {"image": policy})


def vit(**options):
    return ViT(width=32, depth=2, heads=2, mlp_dim=64, patch=4, remat="none", **options)


OBJECTIVES = {
    "simclr": SimCLR(ConvNet((8, 16), (2, 2), (3, 3), norm="group"), augment(2), 0.2, (32,), 16, head_norm="none"),
    "simclr_batchnorm": SimCLR(ConvNet((8, 16), (2, 2), (3, 3), norm="batch"), augment(2), 0.2, (32,), 16),
    "mae": MAE(vit(), augment(), 0.75, True, 16, 1, 2),
    "ijepa": IJEPA(vit(class_token=False), augment(), 16, 1, min_keep=2, context_tokens=5),
}
PAPER = ("simclr", "mae", "ijepa")


def batch_of():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (BATCH, 16, 16, 1)).astype(np.uint8)
    return {"image": image, "_id": np.arange(BATCH, dtype=np.int32), "_epoch": np.zeros(BATCH, np.int32)}


@pytest.fixture(scope="module")
def batch():
    return batch_of()


def setup_of(name, **changes):
    objective = OBJECTIVES[name] if isinstance(name, str) else name
    optimizer = optimizers.adamw(schedules.warmup_cosine(3e-3, 100, 2), lambda step: 0.05)
    return replace(Setup(objective, optimizer, seed=3, total_steps=10), **changes)


@functools.cache
def started(name):
    """A fresh state of the objective, made once."""
    return jax.jit(partial(init_state, setup_of(name)))(batch_of())


@functools.cache
def step_of(name):
    """The jitted step, compiled once."""
    return jax.jit(partial(train_step, setup_of(name)))


def double(state):
    """The same state and objective in float64."""
    return jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, state)


def in_double(objective):
    return replace(objective, encoder=objective.encoder.clone(dtype="float64"))


def on(mesh, setup, state, batch):
    """Loss and gradient, with state and batch placed on `mesh`."""
    with jax.set_mesh(mesh):
        state = jax.device_put(state, state_shardings(state, mesh))
        out, gradient = jax.jit(partial(value_and_gradient, setup))(state, place_batch(batch, batch_sharding(mesh)))
        return float(out.total()), jax.tree.map(np.asarray, gradient)


@functools.cache
def on_one_device(name):
    """Loss and gradient of the whole batch, computed once."""
    return on(make_mesh(devices=jax.devices()[:1]), setup_of(name), started(name), batch_of())


def distance(ours, theirs):
    """Largest difference over the global norm: some leaves are zero in exact arithmetic."""
    norm = np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in jax.tree.leaves(theirs)))
    return (
        max(float(np.max(np.abs(a - b))) for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))
        / norm
    )


MESHES = {"8 devices": (8, 1, 1), "fsdp": (1, 8, 1)}
MORE_MESHES = {"data x fsdp": (2, 4, 1), "fsdp x tensor": (1, 4, 2)}


@pytest.fixture(autouse=True)
def split_small_leaves(monkeypatch):
    monkeypatch.setattr("ssl_jax.devices.mesh.SMALLEST_SPLIT", 64)


def check_meshes(name, batch, meshes):
    loss, gradient = on_one_device(name)
    for title, sizes in meshes.items():
        other_loss, other = on(make_mesh(*sizes), setup_of(name), started(name), batch)
        assert abs(other_loss - loss) <= 1e-5 * abs(loss), title
        assert distance(other, gradient) <= 1e-5, title


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradient_are_equal_on_one_and_eight_devices_and_under_fsdp(name, batch):
    check_meshes(name, batch, MESHES)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradient_are_equal_on_mixed_meshes(name, batch):
    check_meshes(name, batch, MORE_MESHES)


def losses_on(mesh, setup, state, batch, count=20):
    """The losses of `count` steps from `state` on `mesh`."""
    with jax.set_mesh(mesh):
        state = jax.device_put(state, state_shardings(state, mesh))
        placed, step, found = place_batch(batch, batch_sharding(mesh)), jax.jit(partial(train_step, setup)), []
        for _ in range(count):
            state, metrics = step(state, placed)
            found.append(float(metrics["loss"]))
    return np.array(found)


@pytest.mark.slow
def test_what_twenty_steps_differ_by_on_two_meshes_is_rounding_that_the_steps_multiply(batch):
    """In float32 a hundred times more than the first step does; in float64, where there is next to none, it is nothing."""
    setup, state = setup_of("simclr_batchnorm"), started("simclr_batchnorm")
    meshes = make_mesh(devices=jax.devices()[:1]), make_mesh()
    one, eight = (losses_on(mesh, setup, state, batch) for mesh in meshes)
    apart = abs(eight / one - 1)
    assert apart[0] <= 1e-6
    assert apart.max() > 1e-5
    with jax.enable_x64(True):
        exact, state = replace(setup, objective=in_double(setup.objective)), double(state)
        one, eight = (losses_on(mesh, exact, state, batch) for mesh in meshes)
    assert abs(eight / one - 1).max() <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_loss_and_gradient_are_equal_on_every_mesh_to_1e9_in_float64(name, batch):
    with jax.enable_x64(True):
        setup = setup_of(in_double(OBJECTIVES[name]))
        state = double(jax.jit(partial(init_state, setup))(batch))
        loss, gradient = on(make_mesh(devices=jax.devices()[:1]), setup, state, batch)
        for title, sizes in MESHES.items():
            other_loss, other = on(make_mesh(*sizes), setup, state, batch)
            assert abs(other_loss - loss) <= 1e-9 * abs(loss), title
            assert distance(other, gradient) <= 1e-9, title


def test_fsdp_stores_parameters_moments_and_teacher_sharded(batch):
    setup, mesh = setup_of("ijepa"), make_mesh(1, 8, 1)
    state = jax.eval_shape(partial(init_state, setup), batch)
    specs = {k: s.spec for k, s in _by_path(state_shardings(state, mesh)).items()}
    name = "encoder/transformer/blocks/fc1/kernel"
    expected = jax.sharding.PartitionSpec(None, None, "fsdp")
    found = {k for k, spec in specs.items() if k.endswith(name) and spec == expected}
    assert {k.split("/")[0] for k in found} == {"params", "extra", "opt_state"}
    assert len(found) == 4  # parameter, teacher, both Adam moments


def test_an_optimizer_in_host_memory_computes_the_same_bits_and_is_restored_to_where_it_was(batch, tmp_path):
    setup, mesh, states = setup_of("simclr"), make_mesh(1, 2, 1, jax.devices()[:2]), {}
    for offload in ("none", "optimizer"):
        places = state_shardings(started("simclr"), mesh, offload=offload)
        with jax.set_mesh(mesh):
            state = jax.device_put(started("simclr"), places)
            step = jax.jit(partial(train_steps, setup), out_shardings=(places, None))
            twice = {k: np.stack([v, v]) for k, v in batch.items()}
            states[offload], _ = step(state, place_batch(twice, batch_sharding(mesh, steps_axis=True)))
    kinds = {k: x.sharding.memory_kind for k, x in _by_path(states["optimizer"]).items()}
    assert {kinds[k] for k in kinds if k.startswith("opt_state/") and k.endswith("kernel")} == {"pinned_host"}
    assert "pinned_host" not in {kinds[k] for k in kinds if not k.startswith("opt_state/")}
    for ours, theirs in zip(jax.tree.leaves(states["none"]), jax.tree.leaves(states["optimizer"]), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    with closing(Checkpoints(tmp_path)) as saved:
        saved.save(2, states["optimizer"], {})
        saved.finish()
        for offload, devices in (("optimizer", 2), ("none", 2), ("optimizer", 4)):
            mesh = make_mesh(1, devices, 1, jax.devices()[:devices])
            places = state_shardings(started("simclr"), mesh, offload=offload)
            like = jax.tree.map(
                lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), started("simclr"), places
            )
            back = saved.restore(like, 2)
            assert [x.sharding for x in jax.tree.leaves(back)] == jax.tree.leaves(places)
            for ours, theirs in zip(jax.tree.leaves(states["none"]), jax.tree.leaves(back), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def _by_path(tree):
    from ssl_jax.devices.mesh import path_name

    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


@pytest.mark.parametrize("name", ["mae", "ijepa"])
def test_accumulation_equals_the_full_batch(name, batch):
    loss, gradient = on_one_device(name)
    mesh = make_mesh(4, 1, 1, jax.devices()[:4])
    other_loss, other = on(mesh, setup_of(name, accumulation=4), started(name), batch)
    assert abs(other_loss - loss) <= 1e-5 * abs(loss)
    assert distance(other, gradient) <= 1e-5


@pytest.mark.parametrize(("name", "reason"), [("simclr", "fewer negatives"), ("simclr_batchnorm", "fewer negatives")])
def test_accumulation_is_refused_with_the_reason_where_it_would_change_the_loss(name, reason, batch):
    setup = setup_of(name, accumulation=2)
    state = jax.eval_shape(partial(init_state, setup), batch)
    with pytest.raises(UserError, match=reason):
        jax.eval_shape(partial(value_and_gradient, setup), state, batch)


def test_a_gradient_cache_equals_the_full_batch_on_one_and_eight_devices(batch, monkeypatch):
    monkeypatch.setitem(rounds.TILE, "cpu", 8)
    setup, state = setup_of("simclr"), started("simclr")
    cached = replace(setup, objective=replace(setup.objective, loss_method="ring"), gradient_cache=2)
    loss, gradient = on_one_device("simclr")
    for devices in (1, 8):
        other_loss, other = on(make_mesh(devices=jax.devices()[:devices]), cached, state, batch)
        assert abs(other_loss - loss) <= 1e-5 * abs(loss), devices
        assert distance(other, gradient) <= 1e-5, devices


@dataclass(frozen=True)
class Drawing(Pairwise):
    """Its loss is a weight times numbers that it draws for each row."""

    def views(self, keys, batch, progress):
        return batch

    def embed(self, params, extra, views, key):
        return params["w"] * jax.random.uniform(key, (len(views["image"]),)), ()

    def score(self, params, extra, embeddings, progress):
        return Out({"drawn": mean_of(embeddings)}, rows=embeddings)

    def accumulation_refusal(self, extra):
        return None


@pytest.mark.parametrize("kind", ["accumulation", "gradient_cache"])
def test_each_microbatch_draws_for_itself_and_the_same_in_both_passes(kind, batch):
    setup = setup_of(Drawing(None, None), **{kind: 4})
    zero = jnp.zeros((), jnp.int32)
    state = TrainState(zero, zero, zero, {"w": jnp.ones(())}, {}, ())
    out, gradient = jax.jit(partial(value_and_gradient, setup))(state, batch)
    assert len(np.unique(out.rows)) == BATCH
    np.testing.assert_allclose(gradient["w"], out.total(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("mae", {}, "no Pairwise objective"),
        ("simclr_batchnorm", {}, "BatchNorm"),
        ("simclr", {"accumulation": 2}, "takes the place"),
    ],
)
def test_a_gradient_cache_is_refused_with_the_reason(name, changes, reason, batch):
    setup = setup_of(name, gradient_cache=2, **changes)
    state = jax.eval_shape(partial(init_state, setup), batch)
    with pytest.raises(UserError, match=reason):
        jax.eval_shape(partial(value_and_gradient, setup), state, batch)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_falls_and_repeats_bit_for_bit(name, batch):
    def losses():
        state, found = started(name), []
        for _ in range(10):
            state, metrics = step_of(name)(state, batch)
            found.append(float(metrics["loss"]))
        return found

    first = losses()
    assert losses() == first
    # Masks and views change from step to step; the trend does not.
    assert np.mean(first[-4:]) < np.mean(first[:4])


def test_several_steps_in_one_dispatch_equal_single_steps(batch):
    setup = setup_of("simclr")
    several = {k: np.stack([v] * 4) for k, v in batch.items()}
    state = one = started("simclr")
    steps, single = jax.jit(partial(train_steps, setup)), []
    for _ in range(4):
        one, metrics = step_of("simclr")(one, batch)
        single.append(float(metrics["loss"]))
    many, metrics = steps(state, several)
    np.testing.assert_allclose(np.asarray(metrics["loss"]), single, rtol=1e-6)
    again, _ = steps(state, several)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), many, again))


@dataclass(frozen=True)
class Poisoned(SimCLR):
    """SimCLR whose loss is not a number where a record says so."""

    def views(self, keys, batch, progress):
        return super().views(keys, batch, progress) | {"poison": batch["poison"]}

    def loss(self, params, extra, views, key, progress):
        out = super().loss(params, extra, views, key, progress)
        ((name, term),) = out.losses.items()
        return out._replace(losses={name: term._replace(total=term.total + views["poison"].sum())})


def test_a_step_that_is_not_finite_changes_nothing_but_the_counters(batch):
    simclr = OBJECTIVES["simclr_batchnorm"]  # its statistics are state that no gradient guards
    setup = setup_of(Poisoned(**{f.name: getattr(simclr, f.name) for f in fields(simclr) if f.init}))
    good = batch | {"poison": np.zeros(BATCH, np.float32)}
    bad = batch | {"poison": np.full(BATCH, np.nan, np.float32)}
    step = jax.jit(partial(train_step, setup))
    start, _ = step(jax.jit(partial(init_state, setup))(good), good)
    skipped, metrics = step(start, bad)
    assert not np.isfinite(metrics["loss"])
    assert (int(skipped.step), int(skipped.skipped), int(skipped.nonfinite)) == (2, 1, 1)
    for before, after in zip(jax.tree.leaves(start[3:]), jax.tree.leaves(skipped[3:]), strict=True):
        np.testing.assert_array_equal(before, after)
    onward, _ = step(skipped, good)
    assert (int(onward.skipped), int(onward.nonfinite)) == (1, 0)


def test_views_do_not_depend_on_the_place_in_the_batch(batch):
    zero = jnp.zeros((), jnp.int32)
    for name in PAPER:
        setup, state = setup_of(name), TrainState(zero, zero, zero, {}, {}, ())
        turned = {k: np.roll(v, 5, axis=0) for k, v in batch.items()}
        views, _ = jax.jit(setup.views)(state, batch)
        other, _ = jax.jit(setup.views)(state, turned)
        for key in views:
            np.testing.assert_allclose(np.roll(views[key], 5, axis=0), other[key], atol=1e-6, err_msg=f"{name} {key}")


def test_an_objective_is_hashable_and_frozen():
    for objective in OBJECTIVES.values():
        assert isinstance(objective, Objective)
        assert hash(objective) == hash(replace(objective))
