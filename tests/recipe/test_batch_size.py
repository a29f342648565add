"""Another batch size: which numbers of a recipe follow it, by which rule, and that nothing is lost on the way back."""

import inspect
from fractions import Fraction

import pytest

from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.recipe import flatten, load, parse, recipes
from ssl_jax.recipe.batch_size import RULES, at_batch_size
from ssl_jax.recipe.loading import overridden
from ssl_jax.recipe.values import plain

NAMES = [recipe.name for recipe in recipes()]
METHODS = ("barlow_twins", "byol", "moco", "moco_v3", "simclr", "simsiam", "swav", "vicreg")
CIFAR = [f"joint_resnet18_cifar10:{method}" for method in METHODS]


def recipe_of(**changes):
    return plain(load("moco_conv_fashion")) | changes


def test_the_rules_give_the_known_numbers():
    half, four = Fraction(1, 2), Fraction(4)
    assert RULES["ema"](0.99, four, 0) == pytest.approx(0.99**4)
    assert RULES["ema"]((0.996, 1.0), half, 0) == pytest.approx((0.996**0.5, 1.0))
    assert [RULES["queue"](65536, half, batch) for batch in (256, 100, 200_000)] == [65536, 65500, 200_000]
    assert RULES["queue"](0, half, 64) == 0
    assert [RULES["groups"](8, k, 64) for k in (half, four, Fraction(1, 100))] == [4, 32, 1]
    assert RULES["groups"](8, Fraction(3, 2), 96) == 12
    assert RULES["groups"]("separate", half, 64) == "separate"
    assert RULES["share_of_sum"](0.5, four, 0) == pytest.approx(0.2)  # from 1 : 1 to 1 : 4


def test_a_moving_average_forgets_as_much_an_example():
    small, large = 0.9, RULES["ema"](0.9, Fraction(8), 0)
    average = 1.0
    for _ in range(8):
        average *= small
    assert large == pytest.approx(average)


def test_every_number_that_depends_on_the_batch_follows_it():
    groups = (("^head/", {"freeze_until_steps": 10, "lr_scale": 0.5}), ("bias", {"zero_lr_until_epochs": 1}))
    config = recipe_of(total_steps=1000)
    del config["total_examples"]
    config["schedule"] = {"name": "cosine", "warmup_steps": 7}
    config["optimizer"] |= {"lr": 0.4, "reference_batch": None, "groups": groups}
    config["objective"] |= {"queue": 4096, "momentum": 0.99, "bn": 8}
    scaled, changes = at_batch_size(config, 512)
    before, after = flatten(config), flatten(scaled)
    found = {key: after[key] for key in after if after[key] != before[key]}
    assert found == {
        "batch_size": 512,
        "total_steps": 500,
        "schedule.warmup_steps": 4,  # rounded up, as every duration
        "optimizer.lr": 0.8,
        "optimizer.groups": ((groups[0][0], {"freeze_until_steps": 5, "lr_scale": 0.5}), groups[1]),
        "objective.momentum": pytest.approx(0.99**2),
        "objective.bn": 16,
    }
    assert {change.key for change in changes} == found.keys() - {"batch_size"}
    assert "optimizer.lr: 0.4 -> 0.8: linear rule, batch_size 256 -> 512" in map(str, changes)
    parse(scaled)


@pytest.mark.parametrize("scaling", ["linear", "sqrt"])
def test_the_rate_follows_the_rule_of_the_recipe_and_only_once(scaling):
    config = recipe_of()
    config["optimizer"] |= {"lr": 0.1, "reference_batch": None, "scaling": scaling}
    with_reference = config | {"optimizer": config["optimizer"] | {"reference_batch": 256}}
    rates = [parse(at_batch_size(c, 1024)[0]).optimizer.scaled_lr(1024)[0] for c in (config, with_reference)]
    assert rates == pytest.approx([0.4 if scaling == "linear" else 0.2] * 2)


@pytest.mark.parametrize("name", [*NAMES, *CIFAR])
def test_every_recipe_comes_back_from_another_batch_size(name):
    config = plain(load(name))
    same, changes = at_batch_size(config, config["batch_size"])
    assert same == config
    assert changes == []
    larger, _ = at_batch_size(config, 2 * config["batch_size"])
    parse(larger)
    back, _ = at_batch_size(larger, config["batch_size"])
    for key, value in flatten(config).items():
        found = flatten(back)[key]
        if key == "objective.queue" and value % larger["batch_size"]:
            assert abs(found - value) <= larger["batch_size"] / 2
        elif key not in ("optimizer.groups", "schedule.warmup_steps", "total_steps"):  # rounded up on the way
            assert found == (pytest.approx(value, rel=1e-9) if are_numbers(value) else value)


def are_numbers(value):
    values = value if isinstance(value, tuple) else (value,)
    return len(values) > 0 and all(isinstance(v, float) for v in values)


@pytest.mark.parametrize("name", [*NAMES, *CIFAR])
def test_every_recipe_states_what_has_to_follow(name):
    """A default inside a class would be out of reach of the rules."""
    recipe = parse(load(name))
    models = getattr(recipe.model, "parts", {"": recipe.model}).values()
    for section, component in (("objective", recipe.objective), *(("model", model) for model in models)):
        options = inspect.signature(component.resolve()).parameters
        needed = [path.partition(".")[2] for path, _ in recipe.batch_rules if path.startswith(f"{section}.")]
        unstated = {key for key in needed if key in options and key not in component.options}
        harmless = {key for key in unstated if options[key].default in (0, 1, "separate", "joint")}
        assert unstated == harmless, f"{name}: {section} {unstated - harmless}"


def test_an_override_of_the_batch_size_takes_the_rest_along_but_the_users_own_numbers_win():
    said = []
    words = ["--config.objective.momentum=0.5", "--config.batch_size=512", "--config.schedule.final=0.1"]
    config = load("moco_conv_fashion", words, said.append)
    assert config.batch_size == 512
    assert config.objective.momentum == 0.5
    assert config.objective.bn == 16
    assert config.schedule.final == 0.1
    assert any(line.startswith("objective.bn: 8 -> 16: groups of the same size") for line in said)
    assert not any("momentum" in line for line in said)
    assert load("moco_conv_fashion", [], said.append).objective.bn == 8


def test_the_order_of_overrides_changes_nothing():
    """The rule for the rate is itself overridden, and a reference batch leaves the rate to the start of the run."""
    words = ["--config.batch_size=1024", "--config.optimizer.reference_batch=None", "--config.optimizer.scaling=sqrt"]
    found = {load("moco_conv_fashion", order).optimizer.lr for order in (words, words[::-1], [*words[1:], words[0]])}
    assert found == {2 * recipe_of()["optimizer"]["lr"]}
    for order in (words, words[::-1]):
        assert load("moco_conv_fashion", [*order, "--config.optimizer.lr=0.5"]).optimizer.lr == 0.5
    kept = load("moco_conv_fashion", ["--config.optimizer.reference_batch=256", "--config.batch_size=1024"])
    assert kept.optimizer.lr == recipe_of()["optimizer"]["lr"]


def test_a_rule_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match=r"batch_rules=.*where a rule is one of ema, queue"):
        parse(recipe_of(batch_rules=(("objective.momentum", "emma"),)))
    with pytest.raises(UserError, match="batch_size=0: must be greater than 0"):
        overridden(recipe_of(), ["--config.batch_size=0"])


def test_train_writes_what_followed_once_into_the_log_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_jax.training.run.run", lambda *_, **__: None)
    words = ["train", "--config", "moco_conv_fashion", "--workdir", str(tmp_path / "run"), "--config.batch_size=512"]
    assert main(words) == 0
    log = (tmp_path / "run" / "train.log").read_text()
    assert (
        log.count("objective.momentum: 0.99 -> 0.9801: the same memory in examples (m ** k), batch_size 256 -> 512")
        == 1
    )
