"""Optimisers and schedules: known answers, per-layer ratios, masks by name (LARS itself is in the goldens)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_jax.devices.mesh import path_name
from ssl_jax.errors import UserError
from ssl_jax.optim import names, optimizers, schedules
from ssl_jax.optim.param_rules import NO_DECAY, clip_norm, decay_factor, scale_by_layer, with_groups
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


def test_without_correction_the_first_step_is_the_ratio_of_the_fresh_moments():
    optimizer = optimizers.adamw_uncorrected(constant(1.0), constant(0.0), eps=0.0)
    update, _ = optimizer.update(
        {"kernel": jnp.array([3.0])}, optimizer.init({"kernel": jnp.ones(1)}), {"kernel": jnp.ones(1)}
    )
    np.testing.assert_allclose(update["kernel"], [-0.1 / np.sqrt(0.001)], rtol=1e-6)


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


# --- Optax's, and the user's own


def trained(optimizers_by_name, params, steps=3):
    """Parameters after `steps` of every optimiser, in one program; gradients depend on the parameters and the step."""

    def train(optimizer):
        at, state = params, optimizer.init(params)
        for step in range(steps):
            gradient = jax.tree.map(lambda w: jnp.sin(3 * w + step), at)  # noqa: B023
            update, state = optimizer.update(gradient, state, at)
            at = optax.apply_updates(at, update)
        return at

    return jax.jit(lambda: {name: train(optimizer) for name, optimizer in optimizers_by_name.items()})()


def of_recipe(name, lr=0.1, decay=0.0, groups=(), **options):
    """The optimiser of a recipe with a constant rate."""
    section = schema.Optimizer(name=name, lr=lr, weight_decay=decay, options=options or None)
    return optimizers.from_recipe(section, schema.Schedule(name="constant", start=1.0), lr, 100, 0, groups)[0]


def assert_same(a, b, rtol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-7), a, b)


def random_tree(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda s: jnp.asarray(rng.normal(size=s), jnp.float32), shapes, is_leaf=lambda s: type(s) is tuple
    )


def test_each_of_optaxs_optimisers_is_itself_behind_our_rate_and_decay():
    params = random_tree({"kernel": (2, 3)})
    plain = {
        name: make(0.1, **({"weight_decay": 0.0} if "weight_decay" in names.parameters(make) else {}))
        for name, make in names.OPTAX_OPTIMIZERS.items()
    }
    decayed = {
        "adamw": (of_recipe("optax:adamw", decay=0.3, b2=0.9), optax.adamw(0.1, b2=0.9, weight_decay=0.3)),
        "ours": (of_recipe("adamw", decay=0.3), of_recipe("optax:adamw", decay=0.3, b2=0.95)),
        "lion": (of_recipe("lion", decay=0.3), optax.lion(0.1, weight_decay=0.3)),
        "adafactor": (of_recipe("adafactor", decay=0.3), optax.adafactor(0.1, weight_decay_rate=0.1 * 0.3)),
    }
    ours = {name: of_recipe(name) for name in plain} | {name: pair[0] for name, pair in decayed.items()}
    theirs = plain | {name: pair[1] for name, pair in decayed.items()}
    found = trained(
        {f"ours {k}": v for k, v in ours.items()} | {f"theirs {k}": v for k, v in theirs.items()}, params, steps=2
    )
    for name in ours:
        assert_same(found[f"ours {name}"], found[f"theirs {name}"])
        assert np.abs(found[f"ours {name}"]["kernel"] - params["kernel"]).max() > 1e-6, name


def test_to_any_optimiser_layers_are_parameters_of_their_own():
    """Adafactor has factors, a clipped size and a scale for each parameter; here for two towers of different depths."""
    image, text, head = random_tree([(3, 4, 5), (2, 4, 5), (4, 5)])
    image, text = (x * 10.0 ** jnp.arange(len(x)).reshape(-1, 1, 1) for x in (image, text))
    layers = (
        {f"image{i}": x for i, x in enumerate(image)} | {f"text{i}": x for i, x in enumerate(text)} | {"head": head}
    )
    stacks = {"image": {"blocks": {"kernel": image}}, "text": {"blocks": {"kernel": text}}, "head": head}
    make = lambda: of_recipe("adafactor", decay=0.1, min_dim_size_to_factor=2)  # noqa: E731
    found, alone = trained({"": make()}, stacks)[""], trained({"": make()}, layers)[""]
    for name, depth in (("image", 3), ("text", 2)):
        expected = np.stack([alone[f"{name}{i}"] for i in range(depth)])
        np.testing.assert_allclose(found[name]["blocks"]["kernel"], expected, rtol=1e-5)
    assert_same(found["head"], alone["head"])


def test_muon_sees_each_matrix_of_the_stack_alone_and_all_else_is_adamws():
    block = {
        "qkv": {"kernel": (2, 8, 3, 2, 4), "bias": (2, 3, 2, 4)},
        "proj": {"kernel": (2, 2, 4, 8)},
        "fc1": {"kernel": (2, 8, 2, 5)},  # SwiGLU
        "fc2": {"kernel": (2, 5, 8)},
        "norm1": {"scale": (2, 8)},
        "layer_scale1": (2, 8),
        "depthwise": {"kernel": (2, 3, 3, 1, 8)},
    }
    rest = {"patch_embed": {"kernel": (4, 4, 3, 8)}, "token_embed": {"embedding": (6, 8)}, "head": {"kernel": (8, 4)}}
    params = random_tree({"encoder": {"transformer": {"blocks": block}} | rest})

    def matrices(tree):
        blocks = tree["encoder"]["transformer"]["blocks"]
        qkv, proj, fc1, fc2 = (blocks[name]["kernel"] for name in ("qkv", "proj", "fc1", "fc2"))
        apart = {f"qkv{i}": qkv[:, :, i].reshape(2, 8, 8) for i in range(3)} | {f"fc1{i}": fc1[:, :, i] for i in (0, 1)}
        both = apart | {"proj": proj.reshape(2, 8, 8), "fc2": fc2}
        return {f"{name} of layer {layer}": x[layer] for name, x in both.items() for layer in (0, 1)}

    ours = of_recipe("optax.contrib:muon", decay=0.3, ns_steps=2)
    adamw = trained({"ours": ours, "adamw": of_recipe("adamw", decay=0.3)}, params, steps=2)
    theirs = optax.contrib.muon(0.1, weight_decay=0.3, consistent_rms=0.2, ns_steps=2)
    assert_same(matrices(adamw["ours"]), trained({"": theirs}, matrices(params), steps=2)[""], rtol=1e-4)
    flat = {kind: jax.tree_util.tree_flatten_with_path(tree)[0] for kind, tree in adamw.items()}
    muons = ("qkv/kernel", "proj/kernel", "fc1/kernel", "fc2/kernel")
    for (path, ours), (_, expected) in zip(flat["ours"], flat["adamw"], strict=True):
        same = np.allclose(ours, expected, rtol=1e-5, atol=1e-7)
        assert same != path_name(path).endswith(muons), path_name(path)


REFUSED = [
    ("liom", r"did you mean 'lion'"),
    ("optax:adamv", r"did you mean 'optax:adam'"),
    ("optax.contrib:muno", r"did you mean 'optax.contrib:muon'"),
    ("adan", r"did you mean 'optax:adan'"),
    ("optax:apply_updates", "is unknown"),
    ("optax:lbfgs", "is unknown"),
    ("optax._src.alias:adam", "--allow optax._src.alias"),
    ("subprocess:Popen", "--allow subprocess"),
    ("ssl_jax.benchmark.peers.compare:Worker", "none of those that may be named"),
    ("no package:x", "write it as 'package.module:Name'"),
    ("untrusted_optimizer:make", "--allow untrusted_optimizer"),
]


@pytest.mark.parametrize(("name", "hint"), REFUSED, ids=[name for name, _ in REFUSED])
def test_a_name_of_what_is_not_meant_is_refused_and_nothing_is_imported(name, hint, tmp_path, monkeypatch):
    (tmp_path / "untrusted_optimizer.py").write_text("raise SystemExit('was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=rf"optimizer\.name=.*{hint}"):
        optimizers.check(schema.Optimizer(name=name), schema.Schedule())
    with pytest.raises(UserError, match=r"schedule\.name="):
        optimizers.check(schema.Optimizer(), schema.Schedule(name=name))


OWN = """
import subprocess
import optax
from optax import adam

def direction(factor=1.0):
    return optax.scale(factor)

def alias(learning_rate, weight_decay=1.0, factor=1.0):
    return optax.chain(optax.scale(factor), optax.add_decayed_weights(weight_decay), optax.scale(-learning_rate))

class Whole:
    def __init__(self, lr, weight_decay, factor=1.0):
        self.init = lambda params: 0
        self.update = lambda updates, state, params: (jax.tree.map(lambda u: -lr(0) * factor * u, updates), 0)

def halves(peak, total):
    return lambda step: peak / 2

def thirds(init_value):
    return lambda step: init_value / 3

def number(factor=1.0):
    return factor

import jax
"""


def test_an_optimiser_and_a_schedule_of_ones_own_take_their_options_and_our_rules(tmp_path, monkeypatch):
    (tmp_path / "own_optimizers.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    params = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}

    def moved(name, schedule="constant", decay=0.0):
        section = schema.Optimizer(name=name, lr=0.1, weight_decay=decay, options={"factor": 3.0})
        optimizer, _ = optimizers.from_recipe(
            section, schema.Schedule(name=schedule, start=1.0), 0.1, 100, 0, allow=("own_optimizers",)
        )
        update, _ = optimizer.update(params, optimizer.init(params), params)
        return [float(update["kernel"][0]), float(update["bias"][0])]

    for name in ("direction", "alias", "Whole"):
        assert moved(f"own_optimizers:{name}") == pytest.approx([-0.3, -0.3]), name
    assert moved("own_optimizers:alias", decay=1.0) == pytest.approx([-0.4, -0.3])
    assert moved("own_optimizers:direction", "own_optimizers:halves") == pytest.approx([-0.15, -0.15])
    assert moved("own_optimizers:direction", "own_optimizers:thirds") == pytest.approx([-0.1, -0.1])
    for name, why in (
        ("adam", "not a function or class defined in own_optimizers"),
        ("subprocess", "not a function or class defined in own_optimizers"),
        ("alais", "did you mean 'alias'"),
        ("number", "must have init and update"),
    ):
        with pytest.raises(UserError, match=why):
            moved(f"own_optimizers:{name}")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            schema.Optimizer(name="lion", options={"b3": 0.9}),
            r"options.b3=0.9: lion has no option 'b3'. Its options: b1, b2",
        ),
        (schema.Optimizer(name="muon", options={"ns_step": 3}), r"did you mean 'ns_steps'\? Its options: b1, b2, eps"),
        (
            schema.Optimizer(name="optax:adan", options={"b3": "high"}),
            r"optimizer.options.b3='high': expected .*number",
        ),
        (schema.Optimizer(name="lion", options={"weight_decay": 0.1}), r"lion has no option 'weight_decay'"),
        (
            schema.Schedule(name="wsd", options={"shape": "lin"}),
            r"shape='lin' is unknown; use one of linear, cosine, sqrt",
        ),
        (schema.Schedule(name="wsd", options={"decay": 0.0}), r"decay=0.0: must be above 0"),
        (schema.Schedule(name="optax:exponential_decay"), r"argument: 'decay_rate'; see schedule.options"),
        (schema.Schedule(name="inverse_sqr"), r"did you mean 'inverse_sqrt'"),
    ],
)
def test_options_are_checked_against_what_is_named(section, message):
    sections = (section, schema.Schedule()) if isinstance(section, schema.Optimizer) else (schema.Optimizer(), section)
    with pytest.raises(UserError, match=message):
        optimizers.check(*sections)


def test_a_number_of_the_section_is_passed_where_it_is_not_at_its_default():
    taken = lambda make, **keys: names.options(schema.Optimizer(**keys), make, "optimizer", ())  # noqa: E731
    assert taken(optimizers.lion) == {}
    assert taken(optimizers.lion, b2=0.98) == {"b2": 0.98}
    assert taken(optimizers.lion, b2=0.98, options={"b2": 0.95}) == {"b2": 0.95}
    fields = {f.name: f.default for f in dataclasses.fields(schema.Optimizer)}
    for make in optimizers.OPTIMIZERS.values():  # a default of its own where it is meant, the section's elsewhere
        own = {k: p.default for k, p in names.parameters(make, names.OPTIMIZER_NUMBERS).items() if k in fields}
        different = {k for k, default in own.items() if default != fields[k]}
        assert different == ({"b2"} if make is optimizers.lion else set())


def test_inverse_square_root_and_stable_decay_at_the_steps_that_define_them():
    of = lambda name, **keys: optimizers.from_recipe(  # noqa: E731
        schema.Optimizer(), schema.Schedule(name=name, **keys), 2.0, 100, 10
    )[1]
    at = lambda lr, *steps: [float(lr(step)) for step in steps]  # noqa: E731
    np.testing.assert_allclose(at(of("inverse_sqrt"), 0, 5, 10, 40, 90), [0, 1, 2, 1, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(at(of("inverse_sqrt", final=0.4, start=1.0), 0, 10, 40, 90), [2, 2, 1, 0.8], rtol=1e-6)
    linear = {"decay": 0.2, "shape": "linear"}
    np.testing.assert_allclose(
        at(of("wsd", options=linear, final=0.1), 5, 10, 80, 90, 100, 120), [1, 2, 2, 1.1, 0.2, 0.2], rtol=1e-6
    )
    for shape, half in (("cosine", 1.0), ("sqrt", 2 * (1 - 0.5**0.5))):
        np.testing.assert_allclose(
            at(of("wsd", options={"decay": 0.2, "shape": shape}), 79, 90, 100), [2, half, 0], rtol=1e-5, atol=1e-6
        )
    ours, theirs = (of(name, final=0.1, start=0.5) for name in ("cosine", "optax:cosine_decay_schedule"))
    np.testing.assert_allclose(at(ours, 0, 5, 10, 55, 99), at(theirs, 0, 5, 10, 55, 99), rtol=1e-5)
    halving = of("optax:exponential_decay", options={"decay_rate": 0.25})
    np.testing.assert_allclose(at(halving, 10, 55, 100), [2, 1, 0.5], rtol=1e-5)


def test_layer_decay_knows_each_tower_its_depth_and_what_embeds_its_input():
    tower = lambda depth, **more: {"transformer": {"blocks": {"fc1": {"kernel": jnp.ones((depth, 2))}}}} | more  # noqa: E731
    one = jnp.ones(1)
    params = {
        "image": tower(3, patch_embed={"kernel": one}, positions=one, norm={"scale": one}),
        "text": tower(2, token_embed={"embedding": one}, segment_embedding={"embedding": one}, pos_embed=one),
        "shared": {"embedding": one, "embed": {"kernel": one}},
        "resnet": {"stem": {"kernel": one}},
        "decoder": tower(2, embed={"kernel": one}),
    }
    scaled, _ = scale_by_layer(0.5, ("image", "text", "resnet")).update(params, optax.EmptyState())
    found = {path_name(p): np.unique(x).tolist() for p, x in jax.tree_util.tree_flatten_with_path(scaled)[0]}
    assert found == {
        "image/transformer/blocks/fc1/kernel": [0.125, 0.25, 0.5],
        "image/patch_embed/kernel": [0.0625], "image/positions": [0.0625], "image/norm/scale": [1.0],
        "text/transformer/blocks/fc1/kernel": [0.25, 0.5],
        "text/token_embed/embedding": [0.125], "text/segment_embedding/embedding": [0.125], "text/pos_embed": [0.125],
        "shared/embedding": [0.0625], "shared/embed/kernel": [1.0],
        "resnet/stem/kernel": [1.0],
        "decoder/transformer/blocks/fc1/kernel": [1.0], "decoder/embed/kernel": [1.0],
    }  # fmt: skip
    with pytest.raises(UserError, match="needs an encoder with transformer blocks"):
        scale_by_layer(0.5).update(params, optax.EmptyState())


@pytest.mark.parametrize(
    ("name", "decays"),
    [
        ("encoder/transformer/blocks/fc1/kernel", True), ("encoder/token_embed/embedding", True),
        ("encoder/transformer/blocks/layer_scale1", False), ("relative_position/kernel", True),
        ("logit_scale", False), ("logit_bias", False), ("text/cls_token", False), ("encoder/norm/scale", False),
        ("encoder/transformer/blocks/relative_position_bias_table", False),
        ("encoder/relpos_bias/rel_embedding", False), ("encoder/rel_pos_bias/embedding", False),
    ],
)  # fmt: skip
def test_what_is_decayed_is_known_by_the_names_of_the_field(name, decays):
    assert decay_factor((), NO_DECAY, name) == float(decays)


def test_a_rate_that_adam_would_not_survive_is_told_with_what_to_do():
    large = schema.Optimizer(lr=0.002, reference_batch=32)
    assert large.lr_warning(5000) == (
        "learning rate 0.002 -> 0.3125: linear rule, x (5000 / 32) for batch_size=5000: above 0.02, where adamw seldom "
        "trains; try --config.optimizer.scaling=sqrt (here 0.025), or set --config.optimizer.lr"
    )
    assert "learning rate 0.3125: above 0.02" in schema.Optimizer(name="optax:adan", lr=0.3125).lr_warning(32)
    assert large.lr_warning(64) is None
    rooted = dataclasses.replace(large, lr=0.02, scaling="sqrt").lr_warning(5000)
    assert rooted.endswith("where adamw seldom trains; set --config.optimizer.lr")
    assert schema.Optimizer(name="lars", lr=0.3, reference_batch=256).lr_warning(4096) is None
