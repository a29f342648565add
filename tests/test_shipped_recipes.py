"""Every recipe of the package builds, and its `:tiny` form makes a state, without data or compiling."""

import json
import re
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from ssl_jax.data.pipeline import BadRecords
from ssl_jax.devices.mesh import path_name
from ssl_jax.errors import UserError
from ssl_jax.evaluate.online import names_of
from ssl_jax.optim import optimizers
from ssl_jax.optim.param_rules import NO_DECAY, decay_factor, rules_told
from ssl_jax.recipe import load, parse, recipes
from ssl_jax.training.run import batch_like, build, build_objective
from ssl_jax.training.step import init_state

# What the recipes were measured with; the rule for all models names more.
NOT_DECAYED = (
    r"(^|/)(bias|scale|layer_scale[12]|class_token|class_position|positions|registers|mask_token"
    r"|relative_position_bias_table)$"
)
NAMES = [r.name for r in recipes()]
PAIRS = [p.stem for p in (Path(__file__).parents[1] / "configs" / "pairs").glob("*.py")]
RULES = json.loads((Path(__file__).parent / "data" / "decay.json").read_text())


def test_there_is_a_reference_and_an_embedded_recipe_for_each_method():
    methods = [
        "simclr",
        "byol",
        "simsiam",
        "moco_v3",
        "barlow_twins",
        "vicreg",
        "swav",
        "lejepa",
        "rotnet",
        "jigsaw",
        "relative_position",
    ]
    for method in methods:
        assert [n for n in NAMES if n.startswith(f"{method}_conv_fashion")], method
        assert [n for n in NAMES if n.startswith(f"{method}_") and n.endswith("_in1k")], method
    for method in ("dino", "ibot", "dinov2", "dinov3", "msn"):
        assert f"{method}_vit_fashion" in NAMES
        assert [n for n in NAMES if n.startswith(f"{method}_vit") and n.endswith("_in1k")], method
    assert {"moco_v1_resnet50_in1k", "moco_v2_resnet50_in1k", "moco_conv_fashion", "curl_conv_pendulum"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_objective_and_optimiser_of_a_recipe_are_made(name):
    recipe = parse(load(name))
    recipe.check()
    assert hash(build_objective(recipe))
    optimizer, lr = optimizers.from_recipe(recipe.optimizer, recipe.schedule, recipe.optimizer.lr, 1000, 100)
    rates = [float(lr(step)) for step in (0, 100, 999)]
    assert max(rates) == pytest.approx(recipe.optimizer.lr)
    assert min(rates) >= 0
    assert optimizer.init({}) is not None


@pytest.mark.parametrize("name", NAMES)
def test_the_tiny_form_makes_a_state_from_data_that_is_there(name, tmp_path):
    recipe = parse(load(f"{name}:tiny"))
    source = recipe.data.pretrain.build()
    batch = batch_like(source, recipe.batch_size, BadRecords(0.0, tmp_path / "bad.jsonl"))
    setup = build(recipe, len(source))  # its optimiser refuses groups that match no parameter
    state = jax.eval_shape(partial(init_state, setup), batch)
    assert sum(np.prod(x.shape) for x in jax.tree.leaves(state.params)) < 2e6
    assert set(names_of(recipe.evaluate.encoder)) <= setup.objective.encoders().keys()
    paths = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(state.params)[0]]
    assert {p for p in paths if not decay_factor((), NO_DECAY, p)} == {p for p in paths if re.search(NOT_DECAYED, p)}
    assert rules_told(recipe.optimizer.groups, paths) == RULES[name]  # reviewed; tools/summaries writes it anew


@pytest.mark.parametrize("method", ["byol", "moco", "moco_v3", "simsiam", "barlow_twins", "vicreg", "swav"])
def test_the_cifar_recipe_has_a_form_for_each_method(method):
    recipe = parse(load(f"joint_resnet18_cifar10:{method}"))
    recipe.objective.check(given=("encoder", "augment"))
    assert recipe.objective.target.startswith(f"ssl_jax.objectives.{method}:")


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("_fashion")])
def test_full_is_as_many_epochs_of_all_of_fashion_mnist(name):
    whole, embedded = load(f"{name}:full"), load(name)
    captioned = {"target": "ssl_jax.data.sources:FashionCaptions", "whole": True}
    plain = {"target": "ssl_jax.data.sources:FashionMNIST", "whole": None}
    for source in (whole.data.pretrain, whole.data.probe, whole.data.test):
        assert {key: source.get(key) for key in plain} == (captioned if name in PAIRS else plain)
    assert whole.total_examples / 60_000 == embedded.total_examples / 20_000
    changed = ("data", "total_examples")
    assert {k: v for k, v in whole.items() if k not in changed} == {
        k: v for k, v in embedded.items() if k not in changed
    }


def test_another_argument_is_refused():
    with pytest.raises(UserError, match=r"no argument 'fill'; append :tiny or :full"):
        load("simclr_conv_fashion:fill")
