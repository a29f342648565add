"""The next stage of a method: parameters of another run, positions on another grid, and a diff where nothing fits."""

import json
import shutil
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.data.image.views import ImageViews
from ssl_jax.errors import UserError
from ssl_jax.interop import timm_vit
from ssl_jax.interop.fitting import Grids
from ssl_jax.interop.importing import exported, nested
from ssl_jax.interop.shapes import built, wanted
from ssl_jax.models.vit import ViT
from ssl_jax.objectives.dinov3 import DINOv3
from ssl_jax.objectives.supervised import Supervised
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


PIXELS = ((0.5,), (0.5,))
VIT = {"target": "ssl_jax.models.vit:ViT", "width": WIDTH, "depth": 1, "heads": 2, "mlp_dim": 16, "patch": 4}
LEARNED = VIT | {"positions": "learned", "pool": "class", "grid": (2, 4)}
SAVED = {"num_heads": 2, "img_size": [8, 16]}


def some_state(setup, batch):
    """A state of random numbers, without compiling what draws it."""
    rng, shapes = np.random.default_rng(2), jax.eval_shape(partial(init_state, setup), batch)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)


def weights_at(path, channels=3, **change):
    """A file as timm writes it, of pictures of 8 rows and 16 columns, and the variables in it."""
    rng, model = np.random.default_rng(5), LEARNED | change
    shapes = wanted(built(model), channels)
    variables = nested({name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})
    save_file(exported(timm_vit.VIT, model, variables), path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(SAVED))
    return str(path), variables


def test_public_weights_start_student_and_teacher_alike_with_positions_of_another_grid(tmp_path, caplog):
    path, variables = weights_at(tmp_path)
    setup = setup_at((12, 20))
    batch = batch_of(12) | {"image": np.zeros((8, 12, 20, 1), np.uint8)}
    state = some_state(setup, batch)
    with caplog.at_level("INFO"):
        after = initialised_from(InitFrom(weights=path), setup.objective, state)
    assert (
        "resized: patch_embed/kernel [48, 16] to [16, 16], positions [8, 16] to [15, 16]; new: mask_token"
        in caplog.text
    )
    student, teacher = (dict(x["encoder"]) for x in (after.params, after.extra["teacher"]))
    assert all((x.pop("mask_token") != 0).all() for x in (student, teacher))  # as it was drawn
    jax.tree.map(np.testing.assert_array_equal, student, teacher)
    kernel = variables["params"]["transformer"]["blocks"]["qkv"]["kernel"]
    np.testing.assert_array_equal(student["transformer"]["blocks"]["qkv"]["kernel"], kernel)
    image = np.random.default_rng(1).normal(size=(2, 12, 20, 1)).astype(np.float32)
    there = built(LEARNED | {"grid": (2, 4)}).apply(variables, np.repeat(image, 3, axis=-1))
    here = NET.clone(grid=(3, 5)).apply({"params": student}, image)
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, after.params["head"], state.params["head"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"registers": 2}, "no place here: registers"),
        ({"mlp_dim": 24}, r"fc1/kernel: there \[1, 16, 24\], here \[1, 16, 16\]"),
        ({"class_token": False, "pool": "mean"}, "not in the file: class_token"),
    ],
)
def test_public_weights_of_another_encoder_are_refused_with_the_differences(tmp_path, change, said):
    path, _ = weights_at(tmp_path, **change)
    setup = setup_at(12)
    state = jax.eval_shape(partial(init_state, setup), batch_of(12))
    with pytest.raises(UserError, match=said) as error:
        initialised_from(InitFrom(weights=path), setup.objective, state)
    assert "ssl-jax inspect" in str(error.value)
    with pytest.raises(UserError, match="no such encoder; use one of encoder, head"):
        initialised_from(InitFrom(weights=path, module="image"), setup.objective, state)


def test_a_part_of_an_encoder_is_taken_where_the_recipe_says_so(tmp_path):
    path, variables = weights_at(tmp_path, channels=1, registers=2)
    setup = setup_at(12)
    after = initialised_from(InitFrom(weights=path, partial=True), setup.objective, some_state(setup, batch_of(12)))
    np.testing.assert_array_equal(after.params["encoder"]["class_token"], variables["params"]["class_token"])


def test_of_a_run_of_another_method_the_encoder_alone_is_taken(first, caplog):
    """The teacher of DINOv3, with BatchNorm nowhere, into the supervised baseline."""
    augment = ImageViews(20, *PIXELS, {"image": {}})
    adamw = optimizers.adamw(schedules.warmup_cosine(1e-3, 100, 2), lambda step: 0.0)
    setup = Setup(Supervised(NET, augment), adamw, seed=3, total_steps=10)
    state = some_state(setup, batch_of(20) | {"label": np.zeros(8, np.int32)})
    after = initialised_from(InitFrom(first[0]), setup.objective, state)
    assert "the encoder alone is taken" in caplog.text
    teacher = first[1].extra["teacher"]["encoder"]
    np.testing.assert_array_equal(after.params["encoder"]["class_token"], teacher["class_token"])
    assert after.params["encoder"]["positions"].shape == (25, WIDTH)
    jax.tree.map(np.testing.assert_array_equal, after.params["head"], state.params["head"])


def test_one_start_at_a_time():
    with pytest.raises(UserError, match="a run starts from one of them"):
        InitFrom(workdir="runs/x", weights="y")


def test_tables_of_known_grids_change_their_length():
    twelve, thirty = ((12, 16), "float32"), ((30, 16), "float32")
    assert fits("params.encoder.positions", twelve, thirty, Grids((3, 4), (5, 6)))
    assert not fits("params.encoder.positions", twelve, thirty, Grids((3, 4)))
    assert not fits("params.encoder.positions", twelve, thirty, Grids((3, 5), (5, 6)))
