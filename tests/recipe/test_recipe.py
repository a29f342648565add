"""Recipes: what the user types becomes frozen dataclasses, or one sentence that says what to change."""

import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from ssl_jax.errors import UserError
from ssl_jax.recipe import Component, Duration, flatten, from_json, load, neighbours, parse, recipes, to_json
from ssl_jax.recipe.schema import Optimizer

RECIPE = '''
    """A toy recipe.

    More about it.
    """
    from ml_collections import ConfigDict

    RESULT = "84.3 % linear"

    def get_config(arg=""):
        config = ConfigDict()
        config.seed = 0
        config.batch_size = 256
        config.total_steps = 5 if arg == "tiny" else 100
        config.objective = dict(target="ssl_jax.objectives.simclr:SimCLR", temperature=0.2)
        config.model = dict(target="ssl_jax.models.conv:ConvNet", widths=[8, 16])
        config.data = dict(pretrain=dict(target="ssl_jax.data.sources:Embedded", split="pretrain"), probe=None)
        config.augment = dict(target="ssl_jax.data.image.views:ImageViews", views=dict(image=dict(count=2, flip=0.5)))
        config.optimizer = dict(lr=1e-3, clip=None)
        config.schedule = dict(warmup_steps=3)
        return config
'''


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    return write(tmp_path / "toy.py", RECIPE)


@pytest.fixture(autouse=True)
def _import_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return str(path)


def message(call, *args) -> str:
    with pytest.raises(UserError) as caught:
        call(*args)
    return str(caught.value)


# --- finding a recipe


def test_path_with_argument_is_executed(recipe_file):
    assert load(recipe_file).total_steps == 100
    assert load(recipe_file + ":tiny").total_steps == 5


def test_name_is_found_among_nested_shipped_recipes(tmp_path, monkeypatch):
    write(tmp_path / "image" / "toy_conv.py", RECIPE)
    write(tmp_path / "image" / "_pieces.py", "")
    monkeypatch.setattr("ssl_jax.recipe.files.configs_dir", lambda: tmp_path)
    assert load("toy_conv:tiny").total_steps == 5
    assert load("image/toy_conv").total_steps == 100
    assert message(load, "toy_cnov").startswith(
        "--config toy_cnov: no shipped recipe has this name; did you mean 'toy_conv'?"
    )
    assert message(load, "toy_cnov").splitlines()[-1].endswith("`ssl-jax recipes` lists all of them.")
    assert "toy_conv" in message(load, "nothing_like_it").splitlines()[-1]
    write(tmp_path / "text" / "toy_conv.py", RECIPE)
    assert message(load, "toy_conv").endswith("is the name of 2 recipes; say image/toy_conv or text/toy_conv")


def test_shipped_recipes_are_listed_without_being_executed(tmp_path):
    write(tmp_path / "image" / "toy.py", RECIPE + "\n    raise SystemExit('executed')\n")
    (found,) = recipes(tmp_path)
    assert (found.name, found.summary, found.result) == ("toy", "A toy recipe.", "84.3 % linear")


def test_json_is_data(recipe_file, tmp_path):
    config = load(recipe_file)
    (tmp_path / "config.json").write_text(to_json(config))
    assert load(str(tmp_path / "config.json")) == config
    assert "takes no argument" in message(load, str(tmp_path / "config.json") + ":tiny")
    (tmp_path / "torn.json").write_text('{"seed": 0,')
    assert "torn.json is not valid JSON" in message(load, str(tmp_path / "torn.json"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", 'has no get_config(arg=""); define it'),
        ("def get_config(arg=''):\n    return 3", "returned a int; return an ml_collections.ConfigDict"),
        ("def get_config(arg=''):\n    return {'a': 1 / 0}", "line 2, failed: ZeroDivisionError: division by zero"),
        ("def get_config(:", "line 1, failed: SyntaxError"),
        ("def get_config():\n    return {}", "takes no argument, but :tiny was given"),
        ("def get_config(arg=''):\n    return {'seed': print}", "config.seed holds a builtin_function_or_method"),
        ("def get_config(arg=''):\n    return {'seed': float('inf')}", "config.seed=inf cannot be written as JSON"),
        ("def get_config(arg=''):\n    return {'seed': 0}", "the recipe has no batch_size; add it"),
    ],
)
def test_a_broken_recipe_is_named_with_its_line(tmp_path, source, said):
    assert said in message(load, write(tmp_path / "broken.py", source) + ":tiny")


def test_missing_file_names_the_neighbour(recipe_file):
    assert "no such file; did you mean 'toy'?" in message(load, recipe_file.replace("toy", "toyy"))


def test_a_loaded_recipe_is_complete(recipe_file):
    config = load(recipe_file)
    assert config.optimizer.weight_decay == Optimizer().weight_decay
    defaults = {"name": "cosine", "start": 0.0, "final": 0.0, "milestones": (), "factor": 0.1, "options": None}
    defaults |= {"count_from": 0}
    assert config.schedule.to_dict() == defaults | {"warmup_steps": 3}
    assert config.model.widths == (8, 16)
    assert config.checkpoint.every_percent == 25


# --- overrides


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("--config.optimizer.lr=1e-3", "optimizer.lr", 1e-3),
        ("--config.optimizer.lr=1", "optimizer.lr", 1.0),
        ("--config.batch_size=1e3", "batch_size", 1000),
        ("--config.batch_size=1_024", "batch_size", 1024),
        ("--config.log.tensorboard=false", "log.tensorboard", False),
        ("--config.optimizer.name=lars", "optimizer.name", "lars"),
        ("--config.optimizer.name='lars'", "optimizer.name", "lars"),
        ("--config.optimizer.clip=1.5", "optimizer.clip", 1.5),
        ("--config.optimizer.reference_batch=None", "optimizer.reference_batch", None),
        ("--config.evaluate.probes=linear,knn", "evaluate.probes", ("linear", "knn")),
        ("--config.evaluate.probes=knn", "evaluate.probes", ("knn",)),
        ("--config.evaluate.shots=[1, 10]", "evaluate.shots", (1, 10)),
        ("--config.evaluate.shots=()", "evaluate.shots", ()),
        ("--config.augment.views.image.flip=0", "augment.views.image.flip", 0.0),
        ("--config.mesh.data=-1", "mesh.data", -1),
        ("--config.mesh.rules=(('kernel$', ('fsdp', None)),)", "mesh.rules", (("kernel$", ("fsdp", None)),)),
        ("--config.total_epochs=2", "total_epochs", 2),
        ("--config.schedule.warmup_percent=0.5", "schedule.warmup_percent", 0.5),
        ("--config.model.norm=batch", "model.norm", "batch"),
        ("--config.data.pretrain.split=probe", "data.pretrain.split", "probe"),
    ],
)
def test_an_override_is_read_as_the_type_that_is_there(recipe_file, text, key, value):
    found = flatten(load(recipe_file, [text]))[key]
    assert found == value
    assert type(found) is type(value)


def test_a_duration_in_another_unit_replaces_the_one_there(recipe_file):
    config = load(recipe_file, ["--config.total_examples=1000", "--config.schedule.warmup_epochs=1"])
    assert "total_steps" not in config
    assert "warmup_steps" not in config.schedule
    assert parse(config).steps(num_examples=10**6) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--config.lr=1", "unknown config key 'lr'; did you mean 'optimizer.lr'?"),
        (
            "--config.optimizer.learning_rate=1",
            "unknown config key 'optimizer.learning_rate'; did you mean 'optimizer.lr'?",
        ),
        ("--config.num_epochs=1", "unknown config key 'num_epochs'; did you mean 'total_epochs'?"),
        ("--config.steps=1", "unknown config key 'steps'; did you mean 'total_steps'?"),
        (
            "--config.optimizer.lrr=1",
            "unknown config key 'optimizer.lrr'; did you mean 'optimizer.lr'? Keys of optimizer",
        ),
        ("--config.optmizer.lr=1", "did you mean 'optimizer.lr'?"),
        ("--config.augment.views.image.flp=1", "did you mean 'augment.views.image.flip'?"),
        ("--config.total_stepz=1", "did you mean 'total_steps'?"),
        ("--config.xyzzy=1", "unknown config key 'xyzzy'. Top-level keys:"),
        ("--config.seed.x=1", "unknown config key 'seed.x'"),
        ("--config.evaluate.health_steps=3", "did you mean 'evaluate.health_examples'?"),
        ("--config.optimizer.lr=fast", "--config.optimizer.lr=fast: expected a number (now 0.001)"),
        ("--config.optimizer.lr=nan", "expected a number"),
        ("--config.batch_size=2.5", "batch_size=2.5: expected an integer"),
        ("--config.batch_size=True", "expected a number (now 256)"),
        ("--config.log.tensorboard=1", "expected True or False (now True)"),
        ("--config.evaluate.probes=1,2", "evaluate.probes[0]=1: expected a string"),
        ("--config.optimizer=adamw", "this is a section; set one of its keys: "),
        ("--config.optimizer.lr", "write an override as --config.key.sub=value"),
        ("--config.batch_size=0", "batch_size=0: must be greater than 0"),
        ("--config.optimizer.lr=-1", "optimizer.lr=-1.0: must be greater than 0"),
        ("--config.optimizer.b1=1", "optimizer.b1=1.0: must be at least 0 and below 1"),
        ("--config.optimizer.scaling=cubic", "optimizer.scaling='cubic': must be 'linear' or 'sqrt'"),
        ("--config.schedule.warmup_steps=-3", "schedule.warmup_steps=-3: must be 0 or more"),
        ("--config.mesh.fsdp=0", "mesh.fsdp=0: must be a number of devices, or -1"),
        ("--config.data.max_bad_fraction=2", "must be between 0 and 1"),
        ("--config.total_steps=None", "give exactly one of total_steps, total_epochs and total_examples; found none"),
        ("--config.model.target=conv", None),
    ],
)
def test_a_wrong_override_says_what_to_do(recipe_file, text, said):
    if said is None:  # a target is only looked up when it is used
        assert "write it as 'package.module:Name'" in message(parse(load(recipe_file, [text])).model.build)
    else:
        assert said in message(load, recipe_file, [text])


# --- parsing


def test_parse_gives_frozen_sections(recipe_file):
    recipe = parse(load(recipe_file))
    assert recipe.schedule.warmup == Duration(3, "steps")
    assert recipe.data.probe is None
    assert recipe.model.options == {"widths": (8, 16)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.optimizer.lr = 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimiser": {}}, "unknown config key 'optimiser'; did you mean 'optimizer'?"),
        ({"optimizer": {"learning_rate": 0.1}}, "'optimizer.learning_rate'; did you mean 'optimizer.lr'?"),
        ({"optimizer": {"weight_deacy": 0.1}}, "'optimizer.weight_deacy'; did you mean 'optimizer.weight_decay'?"),
        (
            {"total_epochs": 3},
            "give exactly one of total_steps, total_epochs and total_examples; found total_steps=100",
        ),
        (
            {"schedule": {"warmup_steps": 1, "warmup_percent": 5}},
            "schedule.warmup_percent and schedule.warmup_steps are both set",
        ),
        ({"optimizer": 3}, "optimizer=3: expected a section"),
        ({"model": {"widths": (8,)}}, "model.target=None: name a class as 'package.module:Name'"),
        ({"optimizer": {"lr": "1e-3"}}, "optimizer.lr='1e-3': expected a number"),
        ({"seed": True}, "seed=True: expected an integer"),
        ({"optimizer": {"clip": "big"}}, "optimizer.clip='big': expected a number or None"),
        ({"data": {"probe": None}}, "the recipe has no data.pretrain; add it"),
    ],
)
def test_a_wrong_recipe_says_what_to_do(recipe_file, change, said):
    config = load(recipe_file).to_dict() | change
    assert said in message(parse, ConfigDict(config))


def test_durations_are_exact_and_rounded_up():
    steps = {"batch_size": 256, "num_examples": 60_000, "total_steps": 100}
    assert Duration(5, "percent").steps(**steps) == 5
    assert Duration(0.1, "percent").steps(**steps) == 1
    assert Duration(0.3, "percent").steps(256, 60_000, 1000) == 3
    assert Duration(1, "epochs").steps(**steps) == 235
    assert Duration(257, "examples").steps(**steps) == 2
    assert Duration(7, "steps").steps(**steps) == 7
    assert Duration(0, "percent").steps(**steps) == 0


def test_recipe_counts_in_steps(recipe_file):
    recipe = parse(load(recipe_file, ["--config.total_epochs=3", "--config.schedule.warmup_percent=10"]))
    assert recipe.steps(2560) == 30
    assert recipe.duration(recipe.schedule.warmup, 2560) == 3


def test_learning_rate_follows_the_batch_and_says_so():
    assert Optimizer(lr=0.1).scaled_lr(1024) == (0.1, None)
    assert Optimizer(lr=0.1, reference_batch=256).scaled_lr(256) == (0.1, None)
    lr, said = Optimizer(lr=0.1, reference_batch=256).scaled_lr(1024)
    assert lr == pytest.approx(0.4)
    assert said == "learning rate 0.1 -> 0.4: linear rule, x (1024 / 256) for batch_size=1024"
    lr, said = Optimizer(lr=0.1, reference_batch=256, scaling="sqrt").scaled_lr(1024)
    assert lr == pytest.approx(0.2)
    assert "sqrt rule, x sqrt(1024 / 256)" in said


# --- JSON

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
keys = st.text("abcdefg_", min_size=1, max_size=5)
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3).map(tuple) | st.dictionaries(keys, v, max_size=3))


def exact(value):
    """The value with its types: 1, 1.0 and True differ, -0.0 and 0.0 differ."""
    if isinstance(value, dict):
        return {k: exact(v) for k, v in value.items()}
    return tuple(exact(v) for v in value) if isinstance(value, tuple) else (type(value), repr(value))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(keys, values, max_size=4))
def test_every_value_round_trips_exactly(config):
    assert exact(from_json(to_json(ConfigDict(config))).to_dict()) == exact(config)


def test_sequences_are_tuples_and_numpy_scalars_are_numbers():
    assert from_json(to_json({"a": [1, [2]], "b": np.float32(0.1)})).to_dict() == {
        "a": (1, (2,)),
        "b": float(np.float32(0.1)),
    }


# --- components

IDEA = """
    from dataclasses import dataclass
    from subprocess import run
    from pathlib import Path

    @dataclass(frozen=True)
    class MyIdea:
        encoder: object
        weight: float = 1.0
        sizes: tuple[int, ...] = (1,)

        def __post_init__(self):
            if self.weight > 5:
                raise TypeError("weight is too heavy")

    def make(encoder):
        return 3
"""


@pytest.fixture
def idea(tmp_path, monkeypatch) -> str:
    write(tmp_path / "an_idea_of_mine.py", IDEA)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "an_idea_of_mine", raising=False)
    return "an_idea_of_mine"


def test_component_builds_the_class_it_names(idea):
    made = Component(f"{idea}:MyIdea", {"weight": 2, "sizes": (3, 4)}, "objective", (idea,)).build(encoder="E")
    assert (made.encoder, made.weight, made.sizes) == ("E", 2.0, (3, 4))
    assert Component(f"{idea}:MyIdea", {}).build(allow=(idea,), encoder=1).weight == 1.0


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "MyIdea",
            {"wieght": 2},
            "objective.wieght=2: MyIdea (an_idea_of_mine:MyIdea) has no option 'wieght'; did you mean",
        ),
        ("MyIdea", {"weight": "big"}, "objective.weight='big': expected a number"),
        ("MyIdea", {"sizes": (1, 2.5)}, "objective.sizes[1]=2.5: expected an integer"),
        ("MyIdea", {"encoder": 1}, "objective.encoder is provided by the trainer; remove it"),
        ("MyIdea", {"weight": 9}, "MyIdea could not be made: weight is too heavy (at an_idea_of_mine.py:"),
        ("MyIdae", {}, "an_idea_of_mine has no MyIdae; did you mean 'MyIdea'?"),
        ("make", {}, "make is not a class defined in ssl_jax or an_idea_of_mine"),
        ("run", {}, "run is not a class defined in"),
        ("Path", {}, "Path is not a class defined in"),
        ("MyIdea.build", {}, "write it as 'package.module:Name'"),
    ],
)
def test_a_component_that_cannot_be_made_says_why(idea, name, options, said):
    component = Component(f"{idea}:{name}", options, "objective", (idea,))
    assert said in message(lambda: component.build(encoder="E"))


def test_component_says_what_is_missing_on_either_side(idea):
    component = Component(f"{idea}:MyIdea", {}, "objective", (idea,))
    assert "objective needs encoder for MyIdea" in message(component.build)
    assert "does not take 'augment', which ssl_jax passes to it" in message(
        lambda: component.check(given=("encoder", "augment"))
    )


def test_only_ssl_jax_is_imported_unless_allowed(idea):
    said = message(Component(f"{idea}:MyIdea", {}, "objective").build)
    assert "is outside ssl_jax" in said
    assert f"add --allow {idea}" in said
    assert idea not in sys.modules
    assert "outside ssl_jax" in message(Component("ssl_jax_evil:X", {}).build)
    assert "outside ssl_jax" in message(Component("os:system", {"command": "true"}).build)


def test_unknown_modules_are_told_apart(tmp_path, idea):
    assert "there is no module 'ssl_jax.objectives.simclrr'; did you mean 'ssl_jax.objectives.simclr'?" in message(
        Component("ssl_jax.objectives.simclrr:SimCLR", {}).build
    )
    assert "It must lie beside the recipe" in message(Component("no_such_thing:X", {}, allow=("no_such_thing",)).build)
    write(tmp_path / "needs_more_of_mine.py", "import not_installed_anywhere")
    said = message(Component("needs_more_of_mine:X", {}, allow=("needs_more_of_mine",)).build)
    assert "needs the module 'not_installed_anywhere', which is not installed" in said


def test_modules_beside_the_users_own_recipe_are_theirs(recipe_file, tmp_path):
    write(tmp_path / "an_idea_of_mine.py", IDEA)
    write(tmp_path / "package_of_mine" / "__init__.py", "")
    assert neighbours(recipe_file + ":tiny") == ("an_idea_of_mine", "package_of_mine", "toy")
    assert neighbours("simclr_conv_fashion") == ()
    assert neighbours(str(tmp_path / "config.json")) == ()


def test_loading_imports_nothing_heavy(recipe_file):
    code = (
        "import sys; from ssl_jax.recipe import load, parse; parse(load(sys.argv[1]));"
        "print([m for m in ('jax', 'flax', 'matplotlib', 'sklearn', 'grain', 'tensorflow') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, recipe_file], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert ran.stdout.strip() == "[]", ran.stderr
