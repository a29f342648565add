"""The next stage of a method: parameters of another run, positions on another grid, and a diff where nothing fits."""

import shutil
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.image.views import ImageViews
from ssl_jax.errors import UserError
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.dinov3 import DINOv3
from ssl_jax.optim import optimizers, schedules
from ssl_jax.recipe import InitFrom, load, parse
from ssl_jax.training.init_from import fits, initialised_from
from ssl_jax.training.step import Setup, init_state

WIDTH = 16
NET = ViT(WIDTH, 1, 2, 16, 4, remat="none", positions="learned")
HEADS = {
    "prototypes": 12,
    "hidden": 16,
    "bottleneck": 8,
    "patch_prototypes": 10,
    "patch_hidden": 16,
    "patch_bottleneck": 8,
}


def setup_at(size, encoder=NET, **options):
    views = {"image": {"count": 2}, "local": {"count": 1, "size": 8}}
    objective = DINOv3(encoder, ImageViews(size, (0.3,), (0.4,), views), **HEADS, balancing="centre", **options)
    return Setup(
        objective, optimizers.adamw(schedules.warmup_cosine(1e-3, 100, 2), lambda step: 0.0), seed=3, total_steps=10
    )


def batch_of(size):
    return {"image": np.zeros((8, size, size, 1), np.uint8), "_id": np.arange(8), "_epoch": np.zeros(8, int)}


def fresh(setup, size):
    return jax.jit(partial(init_state, setup))(batch_of(size))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run at 12 pixels, 3x3 patches, whose arrays are random: its directory and its state."""
    path, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    (path / "config.json").write_text("{}")
    state = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), fresh(setup_at(12), 12))
    checkpoints = Checkpoints(path / "checkpoints")
    checkpoints.save(4, state, {"run": "first"})
    checkpoints.finish()
    checkpoints.close()
    return str(path), state


@pytest.fixture(scope="module")
def second(first):
    """The Gram stage at 20 pixels, 5x5 patches, from it."""
    setup = setup_at(20, gram_weight=2.0)
    state = fresh(setup, 20)
    return initialised_from(InitFrom(first[0]), setup.objective, state)


def test_student_teacher_and_centre_are_those_of_the_other_run(first, second):
    (_, old), after = first, second
    for ours, theirs in ((after.params, old.params), (after.extra["teacher"], old.extra["teacher"])):
        flat, expected = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (ours, theirs))
        assert flat.keys() == expected.keys()
        for path, leaf in flat.items():
            if "positions" not in str(path):
                np.testing.assert_array_equal(leaf, expected[path])
    np.testing.assert_array_equal(after.extra["centre"]["class"], old.extra["centre"]["class"])
    for x, y in zip(
        jax.tree.leaves(after.extra["gram"]), jax.tree.leaves(after.extra["teacher"]["encoder"]), strict=True
    ):
        np.testing.assert_array_equal(x, y)  # which the other run did not have
    assert int(after.step) == 0
    assert all((np.asarray(m) == 0).all() for m in jax.tree.leaves(after.opt_state))


def test_a_checkpoint_of_another_run_is_no_start(first, tmp_path):
    workdir = shutil.copytree(first[0], tmp_path / "run")
    (workdir / "env.json").write_text('{"run": "second"}')
    with pytest.raises(UserError, match=r"checkpoints/4 belongs to another run \(first; this one is second\)"):
        initialised_from(InitFrom(str(workdir)), None, None)


def test_the_first_features_are_those_of_the_old_encoder_at_the_new_size(first, second):
    image = jnp.asarray(np.random.default_rng(1).normal(size=(2, 20, 20, 1)), jnp.float32)
    old = NET.clone(grid=(3, 3)).apply({"params": first[1].params["encoder"]}, image)
    new = NET.apply({"params": second.params["encoder"]}, image)
    assert second.params["encoder"]["positions"].shape == (25, WIDTH)
    np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5)


def test_another_tree_is_refused_with_its_differences(first):
    setup = setup_at(12, NET.clone(registers=1, mlp_dim=24))
    state = jax.eval_shape(partial(init_state, setup), batch_of(12))
    with pytest.raises(UserError) as error:
        initialised_from(InitFrom(first[0], 4), setup.objective, state)
    said = str(error.value)
    assert "params.encoder.registers: there absent, here float32[1, 1, 16]" in said
    assert "kernel: there float32[1, 16, 16], here float32[1, 16, 24]" in said
    assert "Give model and objective the sizes in" in said


def test_a_step_or_run_that_is_not_there_is_refused(first):
    state = jax.eval_shape(partial(init_state, setup_at(12)), batch_of(12))
    with pytest.raises(UserError, match="no checkpoint of step 7; it has 4"):
        initialised_from(InitFrom(first[0], 7), setup_at(12).objective, state)
    with pytest.raises(UserError, match="does not exist"):
        initialised_from(InitFrom("no/such/run"), setup_at(12).objective, state)


def test_only_square_tables_of_positions_change_their_length():
    nine, twenty = ((9, 16), "float32"), ((20, 16), "float32")
    assert fits("params.encoder.positions", nine, ((25, 16), "float32"))
    assert not fits("params.encoder.positions", nine, twenty)
    assert not fits("params.encoder.positions", nine, ((25, 8), "float32"))
    assert not fits("params.encoder.kernel", nine, ((25, 16), "float32"))
    assert not fits("params.encoder.positions", None, nine)


@pytest.mark.parametrize("spec", ["dinov2_vitl16_in1k:high_resolution", "dinov3_vitl16_in1k:gram"])
def test_the_shipped_stages_fit_the_runs_that_come_before_them(spec):
    """Same model and heads as the stage before, so that its parameters fit."""
    stage, before = parse(load(spec)), parse(load(spec.partition(":")[0]))
    assert stage.init_from.workdir
    assert replace(stage.model) == replace(before.model)
    same = ("prototypes", "hidden", "bottleneck", "patch_prototypes", "balancing")
    assert [stage.objective.options.get(key) for key in same] == [before.objective.options.get(key) for key in same]


def test_the_rate_of_the_gram_stage_is_the_papers():
    """5e-5 before it and 3e-5 in it (arXiv 2508.10104), in the shares of the peak that the recipe has."""
    recipe = parse(load("dinov3_vit_fashion"))
    start, peak = recipe.objective.options["gram_start"], recipe.optimizer.lr
    section, total = recipe.schedule, 1000
    _, lr = optimizers.from_recipe(recipe.optimizer, section, peak, total, 100, ())
    np.testing.assert_allclose([lr(total * start - 1), lr(total * start)], [peak, peak * 3e-5 / 5e-5], rtol=1e-6)
