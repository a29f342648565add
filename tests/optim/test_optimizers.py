"""Optimisers and schedules: known answers, per-layer ratios, masks by name (LARS itself is in the goldens)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_jax.errors import UserError
from ssl_jax.optim import optimizers, schedules
from ssl_jax.optim.param_rules import clip_norm, scale_by_layer, with_groups
from ssl_jax.recipe import schema


def constant(value):
    return lambda step: value


def test_warmup_cosine_starts_peaks_and_ends_where_it_should():
    lr = schedules.warmup_cosine(2.0, 100, warmup=10, final=0.2, start=0.0)
    np.testing.assert_allclose(
        [lr(0), lr(5), lr(10), lr(55), lr(100), lr(200)], [0, 1.0, 2.0, 1.1, 0.2, 0.2], rtol=1e-6
    )


def test_cosine_moves_weight_decay_from_start_to_end():
    decay = schedules.cosine(0.04, 0.4, 10)
    np.testing.assert_allclose([decay(0), decay(5), decay(10)], [0.04, 0.22, 0.4], rtol=1e-6)


def test_adamw_equals_optax_where_nothing_is_masked():
    params = {"kernel": jnp.array([[1.0, -2.0]])}
    ours, theirs = optimizers.adamw(constant(0.1), constant(0.3), b2=0.95), optax.adamw(0.1, b2=0.95, weight_decay=0.3)
    a, b, state_a, state_b = params, params, ours.init(params), theirs.init(params)
    for i in range(3):
        gradient = jax.tree.map(lambda p: jnp.sin(p + i), params)  # noqa: B023
        update, state_a = ours.update(gradient, state_a, a)
        a = optax.apply_updates(a, update)
        update, state_b = theirs.update(gradient, state_b, b)
        b = optax.apply_updates(b, update)
    np.testing.assert_allclose(a["kernel"], b["kernel"], rtol=1e-6)


@pytest.mark.parametrize("make", [optimizers.adamw, optimizers.sgd, optimizers.lars, optimizers.lars_simclr])
def test_biases_norms_and_tokens_are_not_decayed_even_when_stacked(make):
    params = {
        "blocks": {
            "fc1": {"kernel": jnp.ones((2, 3, 4)), "bias": jnp.ones((2, 4))},
            "norm1": {"scale": jnp.ones((2, 3))},
        },
        "class_token": jnp.ones((1, 1, 3)),
    }
    optimizer = make(constant(0.1), constant(0.5))
    update, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    assert (update["blocks"]["fc1"]["kernel"] < 0).all()
    for leaf in (update["blocks"]["fc1"]["bias"], update["blocks"]["norm1"]["scale"], update["class_token"]):
        assert (leaf == 0).all()


def test_lars_gives_stacked_layers_one_trust_ratio_each():
    rng = np.random.default_rng(0)
    w, g = (jnp.asarray(rng.normal(size=(3, 4, 5)) * np.array([1, 10, 100]).reshape(3, 1, 1)) for _ in range(2))
    ratio = optimizers.trust_ratio(1e-3)
    stacked, _ = ratio.update(
        {"blocks": {"fc1": {"kernel": g}}}, optax.EmptyState(), {"blocks": {"fc1": {"kernel": w}}}
    )
    for layer in range(3):
        alone, _ = ratio.update({"fc1": {"kernel": g[layer]}}, optax.EmptyState(), {"fc1": {"kernel": w[layer]}})
        np.testing.assert_allclose(stacked["blocks"]["fc1"]["kernel"][layer], alone["fc1"]["kernel"], rtol=1e-6)


def test_groups_scale_learning_rate_and_decay_by_path():
    groups = (("patch_embed", {"lr_scale": 0.2, "weight_decay": 0.0}), ("frozen", {"lr_scale": 0.0}))
    optimizer = optimizers.sgd(constant(1.0), constant(0.0), momentum=0.0, groups=groups)
    params = {name: {"kernel": jnp.ones(2)} for name in ("patch_embed", "frozen", "head")}
    update, _ = optimizer.update(params, optimizer.init(params), params)
    assert [float(update[k]["kernel"][0]) for k in ("patch_embed", "frozen", "head")] == [
        pytest.approx(-0.2), 0.0, pytest.approx(-1.0),
    ]  # fmt: skip


def test_clip_limits_the_global_norm():
    optimizer = optax.chain(clip_norm(1.0), optimizers.sgd(constant(1.0), constant(0.0), momentum=0.0))
    params = {"kernel": jnp.array([3.0, 4.0])}
    update, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(update["kernel"], [-0.6, -0.8], rtol=1e-6)


def test_clip_by_module_and_by_tensor_leave_small_gradients_alone_and_see_layers_apart():
    gradient = {
        "encoder": {"a": jnp.array([6.0]), "b": jnp.array([8.0]), "blocks": {"c": jnp.array([[0.0], [0.0]])}},
        "head": {"a": jnp.array([0.5])},
    }
    by_module, _ = clip_norm(1.0, "module").update(gradient, optax.EmptyState())
    np.testing.assert_allclose([by_module["encoder"]["a"][0], by_module["encoder"]["b"][0]], [0.6, 0.8], rtol=1e-5)
    assert by_module["head"]["a"] == 0.5
    gradient["encoder"]["blocks"]["c"] = jnp.array([[3.0], [0.5]])
    by_tensor, _ = clip_norm(1.0, "tensor").update(gradient, optax.EmptyState())
    np.testing.assert_allclose([by_tensor["encoder"][k][0] for k in "ab"], [1.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(by_tensor["encoder"]["blocks"]["c"], [[1.0], [0.5]], rtol=1e-5)
    with pytest.raises(UserError, match=r"clip_by='value' .* global, module, tensor"):
        clip_norm(1.0, "value")


def test_layer_decay_counts_from_the_head_and_leaves_heads_alone():
    params = {
        "encoder": {
            "transformer": {"blocks": {"fc1": {"kernel": jnp.ones((3, 2))}}, "norm": {"scale": jnp.ones(2)}},
            "patch_embed": {"kernel": jnp.ones(2)},
            "class_token": jnp.ones(2),
        },
        "head": {"dense0": {"kernel": jnp.ones(2)}},
    }
    scaled, _ = scale_by_layer(0.5).update(params, optax.EmptyState())
    encoder = scaled["encoder"]
    np.testing.assert_allclose(encoder["transformer"]["blocks"]["fc1"]["kernel"][:, 0], [0.125, 0.25, 0.5])
    for leaf, factor in (
        (encoder["patch_embed"]["kernel"], 0.5**4), (encoder["class_token"], 0.5**4),
        (encoder["transformer"]["norm"]["scale"], 1.0), (scaled["head"]["dense0"]["kernel"], 1.0),
    ):  # fmt: skip
        np.testing.assert_allclose(leaf, factor)


@pytest.mark.parametrize("make", optimizers.OPTIMIZERS.values(), ids=optimizers.OPTIMIZERS)
def test_a_frozen_parameter_starts_at_its_thaw_as_if_training_began_there(make):
    groups = (("late", {"freeze_until": 3}),)
    params = {"late": jnp.array([1.0, -2.0]), "early": jnp.array([1.0, -2.0])}
    gradient = lambda p: jax.tree.map(lambda w: jnp.sin(3 * w), p)  # noqa: E731

    def train(optimizer, params, steps):
        state, update = optimizer.init(params), jax.jit(optimizer.update)
        for _ in range(steps):
            updates, state = update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
        return params

    make_one = lambda groups=(): make(constant(0.1), constant(0.3), groups=groups)  # noqa: E731
    frozen = with_groups(make_one(groups), groups)
    np.testing.assert_array_equal(train(frozen, params, 3)["late"], params["late"])
    found = train(frozen, params, 5)
    np.testing.assert_allclose(found["early"], train(make_one(), params, 5)["early"], rtol=1e-6)
    np.testing.assert_allclose(found["late"], train(make_one(), params, 2)["early"], rtol=1e-6)


def test_moments_gather_while_only_the_rate_is_zero():
    groups = (("head", {"zero_lr_until": 2}), ("head", {"lr_scale": 0.5}))
    optimizer = with_groups(optimizers.sgd(constant(1.0), constant(0.0), momentum=1.0, groups=groups), groups)
    params = {"head": jnp.zeros(1)}
    state, moved = optimizer.init(params), []
    for _ in range(3):
        update, state = optimizer.update({"head": jnp.ones(1)}, state, params)
        moved.append(float(update["head"][0]))
    assert moved == [0.0, 0.0, -1.5]


def test_a_group_that_matches_nothing_is_refused():
    optimizer = with_groups(optimizers.sgd(constant(1.0), constant(0.0)), (("hed/", {"lr_scale": 0.1}),))
    with pytest.raises(UserError, match=r"'hed/' matches no parameter; there are head/kernel"):
        optimizer.init({"head": {"kernel": jnp.ones(1)}})


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_recipe_reaches_every_optimiser(name):
    section = schema.Optimizer(name=name, lr=0.1, weight_decay=0.01, clip=1.0)
    optimizer, lr = optimizers.from_recipe(section, schema.Schedule(final=0.1), 0.2, 100, 10)
    params = {"kernel": jnp.ones((2, 2))}
    update, _ = optimizer.update(params, optimizer.init(params), params)
    assert update["kernel"].shape == (2, 2)
    np.testing.assert_allclose([lr(10), lr(100)], [0.2, 0.02], rtol=1e-6)


def test_unknown_names_are_refused_with_those_that_exist():
    with pytest.raises(UserError, match=r"optimizer.name='adam' .* adamw, sgd, lars"):
        optimizers.from_recipe(schema.Optimizer(name="adam"), schema.Schedule(), 0.1, 10, 1)
    with pytest.raises(UserError, match=r"schedule.name='step' .* cosine, constant"):
        optimizers.from_recipe(schema.Optimizer(), schema.Schedule(name="step"), 0.1, 10, 1)


def test_milestones_multiply_the_rate_from_their_steps_on():
    schedule = schedules.warmup_milestones(1.0, 100, 10, 0.0, 0.5, (0.3, 0.6), 0.1)
    np.testing.assert_allclose([schedule(t) for t in (0, 10, 29, 30, 59, 60)], [0.5, 1, 1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_rules_hold_a_rate_freeze_a_layer_and_scale_another():
    section = schema.Optimizer(
        name="sgd", lr=1.0, momentum=0.0, weight_decay=0.5, no_decay="",
        groups=(("^predictor/", {"constant": True}), ("^prototypes/", {"zero_lr_until_steps": 2}), ("bias$", {"lr_scale": 0.1})),
    )  # fmt: skip
    groups = tuple((p, {k.removesuffix("_steps"): v for k, v in rule.items()}) for p, rule in section.groups)
    optimizer, _ = optimizers.from_recipe(section, schema.Schedule(name="cosine"), 1.0, 4, 0, groups)
    params = {"predictor": {"w": 1.0}, "prototypes": {"w": 1.0}, "encoder": {"w": 1.0, "bias": 1.0}}
    params = jax.tree.map(jnp.asarray, params)
    state, found = optimizer.init(params), []
    for _ in range(4):
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
        found.append(jax.tree.map(float, updates))
    rates = [float(schedules.warmup_cosine(1.0, 4)(t)) for t in range(4)]
    np.testing.assert_allclose([f["predictor"]["w"] for f in found], [-0.5] * 4, rtol=1e-6)
    np.testing.assert_allclose(
        [f["prototypes"]["w"] for f in found], [0, 0, -0.5 * rates[2], -0.5 * rates[3]], rtol=1e-6
    )
    np.testing.assert_allclose([f["encoder"]["w"] for f in found], [-0.5 * r for r in rates], rtol=1e-6)
    np.testing.assert_allclose([f["encoder"]["bias"] for f in found], [-0.05 * r for r in rates], rtol=1e-6)
