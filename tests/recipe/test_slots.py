"""What may be built where: no place in a recipe takes anything but what is meant for it, and nothing there does harm."""

import importlib
import itertools
import json
import pkgutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest
from flax import linen as nn

import ssl_jax
from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.objectives.base import Objective
from ssl_jax.objectives.shared.modules import options_set, with_modules
from ssl_jax.recipe import Component, from_json, load, parse, to_json
from ssl_jax.recipe.component import with_model_option
from ssl_jax.recipe.loading import overridden
from ssl_jax.recipe.slots import MODEL, PROBE, SLOTS, SOURCE, factory_at

PLACES = {id(slot): where for where, slot in reversed(SLOTS.items())}.values()  # one for each slot
GIVEN = {"objective": {"encoder": None, "augment": None}}  # what the trainer provides
HARM = (
    "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.truncate", "os.remove", "os.rmdir",
    "os.rename", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.kill", "shutil.", "socket.", "tempfile.",
    "webbrowser.",
)  # fmt: skip


class Holder(nn.Module):
    held: object = None


@dataclass(frozen=True)
class Learner(Objective):
    held: object = None


class Anything:
    """Fits every place that asks for no base, and takes whatever it is given."""

    columns = ()

    def __init__(self, held):
        self.held = held

    __len__ = __getitem__ = fingerprint = __call__ = evaluation = run = lambda self, *_: None


class Harm(BaseException):
    """Not an Exception, so that nothing swallows it."""


class Guard:
    """While `on`, whatever starts a program, opens a file for writing, or changes a folder raises Harm and is remembered."""

    def __init__(self):
        self.on, self.seen = False, []
        sys.addaudithook(self._hear)

    def _hear(self, event, args):
        if self.on and (event.startswith(HARM) or (event == "open" and _writes(*args))):
            self.seen.append((event, args[:2]))
            raise Harm(event)

    def __enter__(self):
        self.on = True
        return self

    def __exit__(self, *_):
        self.on = False


def _writes(path, mode, flags):
    return bool(set(mode or "") & set("wax+")) or bool(flags & 0b11) if isinstance(flags, int) else False


@pytest.fixture(scope="module")
def guard():
    return Guard()  # an audit hook cannot be taken away, only told to be quiet


@pytest.fixture(scope="module")
def modules():
    """Every module of ssl_jax, imported, but those that need torch."""
    names = [m.name for m in pkgutil.walk_packages(ssl_jax.__path__, "ssl_jax.")]
    return [
        importlib.import_module(n)
        for n in names
        if not n.endswith(("torch_mae", "torch_input", "torch_weights", "__main__", "peers.worker"))
    ]


def classes(modules):
    """`module:Name` of every class that is defined in ssl_jax, and of every one that a room of some slot re-exports."""
    rooms = tuple(room for slot in SLOTS.values() for room in slot.rooms)
    for module in modules:
        for name, found in vars(module).items():
            if isinstance(found, type) and (found.__module__ == module.__name__ or module.__name__.startswith(rooms)):
                yield f"{module.__name__}:{name}"


def hostile(path):
    """What an option may be set to: a file, a command, a mapping of files, a number."""
    return str(path), ("touch", f"{path}.touched"), {"a": str(path)}, 1


def attempts(target, where, path):
    """Components that name `target` at a place, with all kinds of options, and inside of another component there."""
    slot = SLOTS[where]
    yield Component(target, {}, where, (), slot)
    module, _, name = target.partition(":")
    found = getattr(importlib.import_module(module), name)
    if found.__module__ == module and module.startswith(slot.rooms):
        code = getattr(found.__init__, "__code__", None)
        parameters = (
            [p for p in code.co_varnames[1 : code.co_argcount] if p not in GIVEN.get(where, {})] if code else []
        )
        for value in hostile(path):
            yield Component(target, dict.fromkeys(parameters, value), where, (), slot)
            yield from (Component(target, {p: value}, where, (), slot) for p in parameters)
    outer = {"objective": "Learner", "model": "Holder"}.get(where, "Anything")
    yield Component(f"{__name__}:{outer}", {"held": ({"deep": {"target": target}},)}, where, (__name__,), slot)


def test_no_class_of_the_package_does_harm_in_any_place(modules, guard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    made, refused = set(), set()
    for target, where in itertools.product(classes(modules), PLACES):
        for component in attempts(target, where, victim):
            try:
                with guard:
                    component.build(**GIVEN.get(where, {}))
                made.add((target, where))
            except UserError:
                refused.add((target, where))
            except Exception:  # a bug of that class, perhaps, and no harm
                pass
    assert guard.seen == []
    assert victim.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["victim"]
    # What can be made at all, so that the test does not pass because nothing is.
    assert {
        ("ssl_jax.models.conv:ConvNet", "model"),
        ("ssl_jax.data.sources.embedded:Embedded", "data.pretrain"),
    } <= made
    assert ("ssl_jax.objectives.simclr:SimCLR", "objective") in made
    assert ("ssl_jax.evaluate.probes.linear:Probe", "evaluate.probes") in made
    assert {target for target, where in made if where.startswith("data.")} <= {
        t for t in classes(modules) if t.startswith("ssl_jax.data.sources")
    }
    assert {target.partition(":")[0].split(".")[1] for target, where in made if where == "model"} == {"models"}
    assert not any("benchmark" in target or "checkpoint" in target for target, _ in made)
    assert ("ssl_jax.benchmark.peers.compare:Worker", "data.pretrain") in refused


def test_the_guard_hears_what_does_harm(guard, tmp_path):
    for harm in (
        lambda: subprocess.run(["true"]),
        lambda: (tmp_path / "x").write_text(""),
        lambda: (tmp_path / "y").mkdir(),
        lambda: __import__("os").truncate(tmp_path, 0),
        lambda: __import__("shutil").rmtree(tmp_path),
    ):
        with pytest.raises(Harm), guard:
            harm()
    guard.seen.clear()


EVIL = {"target": "ssl_jax.benchmark.peers.compare:Worker", "command": ("touch", "pwned"), "environment": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"pretrain": EVIL}},
        {"data": {"pretrain": {"target": "ssl_jax.data.sources:Subset", "source": EVIL}}},
        {"model": EVIL},
        {"model": {"image": EVIL}},
        {"model": {"target": "ssl_jax.models.conv:ConvNet", "widths": (8, {"deep": (EVIL,)})}},
        {"augment": EVIL},
        {"objective": EVIL},
        {"objective": {"target": "ssl_jax.objectives.simclr:SimCLR", "hidden": (EVIL,)}},
        {"augment": {"target": "ssl_jax.data.sources:Embedded"}},
        {"data": {"pretrain": {"target": "ssl_jax.models.conv:ConvNet"}}},
        {"objective": {"target": "ssl_jax.models.conv:ConvNet"}},
        {"data": {"pretrain": {"target": "ssl_jax.data.bad:BadRecords"}}},
    ],
)
def test_a_strangers_config_starts_nothing(change, guard, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = json.loads(to_json(load("simclr_conv_fashion:tiny")))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | change, default=list))
    with (
        pytest.raises(
            UserError, match=r"this place takes an? .*(and|holds) |(widths|hidden)\[.\]=.*expected an integer"
        ),
        guard,
    ):
        parse(from_json((tmp_path / "run" / "config.json").read_text())).check()
    if change == {"data": {"pretrain": EVIL}}:
        assert main(["report", "--workdir", "run"]) == 2
        assert (
            "data.pretrain.target='ssl_jax.benchmark.peers.compare:Worker': this place takes a source of records"
            in (capsys.readouterr().err)
        )
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("ssl_jax.data.sources.folder:Path", "Path is not a class defined in ssl_jax"),
        ("ssl_jax.data.sources.folder:os", "os is not a class"),
        ("ssl_jax.data.sources.embedded:_arrays", "private"),
        ("ssl_jax.data.sources:__init__", "private"),
        ("ssl_jax.data.sources:__class__", "private"),
        ("ssl_jax.data.sources.arrays:spread", "spread is not a class"),
        ("ssl_jax.data.sources.arrays:UserError", "ssl_jax.errors holds none"),
        ("ssl_jax.data.sources..embedded:Embedded", "write it as"),
        ("ssl_jax.data.sources.embedded.:Embedded", "write it as"),
        (".data.sources:Embedded", "write it as"),
        ("ssl_jax/data/sources:Embedded", "write it as"),
        ("ssl_jax.data.sources:Embedded.split", "write it as"),
        ("ssl_jax.data.sources:Embedded\n", "write it as"),
        ("ssl_jax.data.sources.embedded", "write it as"),
        ("", "write it as"),
        (":", "write it as"),
        ("ssl_jax.data.sources." + "a" * 10**6 + ":X", "write it as"),
        ("ssl_jax:main", "ssl_jax holds none"),
        ("ssl_jax.__main__:main", "ssl_jax.__main__ holds none"),
        ("ssl_jax.data.sourcesx:Embedded", "did you mean 'ssl_jax.data.sources'?"),
        ("subprocess:Popen", "is outside ssl_jax"),
        ("builtins:open", "is outside ssl_jax"),
    ],
)
def test_odd_names_are_refused_in_one_short_message(target, said):
    with pytest.raises(UserError) as caught:
        Component(target, {}, "data.pretrain", ("ssl_jax",), SOURCE).build()  # nor does allowing ssl_jax open its rooms
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("depth", [100, 1000, 100_000])
def test_what_is_nested_too_deeply_is_refused(depth):
    for inner, outer in (('{"target": "x:Y", "source": ', "}"), ("[", "]"), ('{"a": ', "}")):
        with pytest.raises(UserError, match=r"deep; no recipe is|is not valid JSON"):
            from_json('{"model": ' + inner * depth + "1" + outer * depth + "}")


def test_flax_keeps_its_own_fields_and_types_have_names():
    for key, value in (("parent", None), ("name", "x")):
        with pytest.raises(UserError, match=f"model.{key} is set by Flax in ConvNet; remove it"):
            Component("ssl_jax.models.conv:ConvNet", {key: value}, "model", (), MODEL).check()
    for name, meant in (("bf16", "bfloat16"), ("fp16", "float16"), ("half", "float16"), ("bfloat", "bfloat16")):
        with pytest.raises(UserError, match=f"model.dtype='{name}': .*did you mean '{meant}'. Use one of float32"):
            Component("ssl_jax.models.vit:ViT", {"dtype": name}, "model", (), MODEL).check()
    for name in ("int32", "nothing", "f4,f4", ""):
        with pytest.raises(UserError, match="Use one of float32"):
            Component("ssl_jax.models.vit:ViT", {"dtype": name}, "model", (), MODEL).check()


def test_an_option_that_another_source_has_names_it():
    with pytest.raises(UserError, match=r"'root' is an option of AudioFolder \(.*\), .* ImageFolder"):
        Component("ssl_jax.data.sources:Embedded", {"root": "x"}, "data.pretrain", (), SOURCE).check()


# --- the user's own code

OWN = """
    from subprocess import Popen
    from flax import linen as nn
    from ssl_jax.benchmark.peers.compare import Worker
    from ssl_jax.data.sources import Embedded

    class Records:
        def __init__(self, count: int = 4, inner: object = None):
            self.count, self.inner = count, inner
        def __len__(self):
            return self.count
        def __getitem__(self, i):
            return {"image": i}
        def fingerprint(self):
            return "own"

    class Half(Records):
        pass

    class Tower(nn.Module):
        encoder: nn.Module
        width: int = 8

    class Score:
        columns = ()
        def run(self, split):
            return {}

    def rate(step):
        return step
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_parts.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    return ("own_parts",)


def test_the_users_own_classes_need_no_base_but_fit_their_place(own):
    assert len(Component("own_parts:Half", {"count": 3}, "data.test", own, SOURCE).build()) == 3
    assert Component("own_parts:Score", {}, "evaluate.probes[0]", own, PROBE).build().run(None) == {}
    assert len(Component("own_parts:Embedded", {"limit": 5}, "data.test", own, SOURCE).build()) == 5
    for target, where in (
        ("own_parts:Records", "model"),
        ("own_parts:Tower", "data.test"),
        ("own_parts:Score", "augment"),
    ):
        with pytest.raises(UserError, match=r"this place takes an? .* is none"):
            Component(target, {}, where, own, SLOTS[where]).check()
    for name in ("Popen", "Worker"):
        with pytest.raises(UserError, match=r"not a class defined in|holds none"):
            Component(f"own_parts:{name}", {}, "data.test", own, SOURCE).check()


def test_components_nest_at_every_depth_and_are_checked_before_anything_is_made(own):
    deep = {"target": "own_parts:Tower", "encoder": {"target": "ssl_jax.models.conv:ConvNet", "widths": (4, 8)}}
    built = Component("own_parts:Tower", {"encoder": deep, "width": 4}, "model", own, MODEL).build()
    assert built.encoder.encoder.widths == (4, 8)
    for change, said in (
        ({"widht": 3}, "model.encoder.encoder.widht=3: ConvNet .* has no option 'widht'"),
        ({"widths": "x"}, "model.encoder.encoder.widths='x': expected a tuple"),
        ({"target": "ssl_jax.models.conv:ConvNett"}, "model.encoder.encoder.target=.* did you mean 'ConvNet'"),
        ({"target": "other:X"}, "model.encoder.encoder.target='other:X' is outside ssl_jax"),
    ):
        wrong = deep | {"encoder": deep["encoder"] | change}
        with pytest.raises(UserError, match=said):
            Component("own_parts:Tower", {"encoder": wrong}, "model", own, MODEL).check()
    with pytest.raises(UserError, match=r"model\.encoder needs encoder for Tower"):
        Component("own_parts:Tower", {"encoder": {"target": "own_parts:Tower"}}, "model", own, MODEL).check()
    options = {"source": {"target": "own_parts:Records", "count": 10, "inner": ({"a": {"target": "own_parts:Half"}},)}}
    half = Component("ssl_jax.data.sources:Subset", options | {"stop": 0.5}, "data.probe", own, SOURCE).build()
    assert (len(half), len(half.source.inner[0]["a"])) == (5, 4)


def test_a_factory_is_one_of_those_known_or_the_users_own(own):
    known = ("optax:lion", "optax.contrib:muon")
    assert factory_at("optax:lion", "optimizer.name", known).__name__ == "lion"
    assert factory_at("own_parts:rate", "schedule.name", known, own)(3) == 3
    for target, said in (
        ("optax:lionn", r"none of those that may be named; did you mean 'optax:lion'"),
        ("optax.contrib:Any", "none of those that may be named"),
        ("ssl_jax.benchmark.peers.compare:Worker", "is outside ssl_jax|none of those"),
        ("own_parts:Popen", "not a function or class defined in own_parts"),
        ("own_parts:raet", "own_parts has no raet"),
        ("subprocess:run", "outside ssl_jax"),
    ):
        with pytest.raises(UserError, match=said):
            factory_at(target, "optimizer.name", known, own)


# --- several models


def test_a_recipe_may_name_several_models(own):
    config = load("simclr_conv_fashion:tiny").to_dict()
    tower = {"target": "own_parts:Tower", "encoder": config["model"], "width": 4}
    config["model"] = {"image": config["model"], "text": tower}
    assert parse(from_json(to_json(config))) == parse(config)
    recipe = parse(config, own)
    recipe.model.check()
    built = recipe.model.build()
    assert hash(built) == hash(recipe.model.build())
    assert sorted(built) == ["image", "text"]
    assert built["text"].encoder == built["image"]
    words = ["--config.model.text.width=16", "--config.model.text.encoder.norm=none", "--config.model.image.norm=group"]
    made = parse(overridden(config, words), own).model.build()
    assert (made["text"].width, made["text"].encoder.norm, made["image"].norm) == (16, "none", "group")
    for word, said in (
        ("--config.model.image.widht=3", "model.image.widht=3: ConvNet .* has no option 'widht'"),
        ("--config.model.text.encoder.widht=3", "model.text.encoder.widht=3: ConvNet .* has no option 'widht'"),
    ):
        with pytest.raises(UserError, match=said):
            parse(overridden(config, [word]), own).check()
    with pytest.raises(UserError, match=r"unknown config key 'model\.wdith'"):
        overridden(config, ["--config.model.wdith=3"])
    with pytest.raises(UserError, match=r"model\.text\.target=None: name a class"):
        parse(config | {"model": config["model"] | {"text": {"width": 3}}})
    with pytest.raises(UserError, match=r"add --allow own_parts --allow other "):
        parse(config | {"augment": {"target": "other:Views"}}).check()


def test_every_model_of_a_recipe_is_set_widened_and_follows_the_batch(own):
    config = load("simclr_conv_fashion:tiny").to_dict()
    conv = config["model"] | {"drop_path_groups": 2}
    config["model"] = {"image": conv, "text": {"target": "own_parts:Tower", "encoder": dict(conv)}}
    single = with_model_option(config, "dtype", "bfloat16", own)["model"]
    assert [single["image"]["dtype"], single["text"]["encoder"]["dtype"]] == ["bfloat16"] * 2
    assert "dtype" not in single["text"]
    scaled = overridden(config, [f"--config.batch_size={4 * config['batch_size']}"])["model"]
    assert [scaled["image"]["drop_path_groups"], scaled["text"]["encoder"]["drop_path_groups"]] == [8, 8]
    for part in (config["model"]["image"], config["model"]["text"]["encoder"]):
        del part["drop_path_groups"]
    made = with_modules(parse(config, own).model.build(), lambda module: options_set(module, dtype="float64"))
    assert [made["image"].dtype, made["text"].encoder.dtype] == ["float64"] * 2
