"""Sources named by strings: the components they stand for, what is guessed, taken over and refused."""

import gzip
import json
import os

import numpy as np
import pytest
from PIL import Image

from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.plan.problem import Declared, _source
from ssl_jax.recipe import load, parse
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.slots import SOURCE
from ssl_jax.recipe.sources import PICTURES, SCHEMES, component, opened, resolved
from ssl_jax.recipe.splits import splits_of
from ssl_jax.recipe.values import from_json, to_json

PLACE = "ssl_jax.data.sources:"


def picture(path, value=50):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), (value, value, value)).save(path)


def built_of(options):
    return Component(options["target"], {k: v for k, v in options.items() if k != "target"}, slot=SOURCE).build()


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of each kind that a path can be, with the files as numpy, gzip and Pillow write them."""
    monkeypatch.chdir(tmp_path)
    images, labels = np.arange(4 * 64).reshape(4, 8, 8).astype(np.uint8), np.array([1, 0, 1, 1])
    for i in range(20):
        for name in (f"flat/{i}.png", f"classes/{'ab'[i % 2]}/{i}.png", f"both/{i}.png"):
            picture(tmp_path / name)
        for split in ("train", "val"):
            picture(tmp_path / f"split/{split}/{'ab'[i % 2]}/{split}{i}.png")
    picture(tmp_path / "both/a/9.png")
    np.save("x_train.npy", images)
    np.save("y_train.npy", labels)
    np.save("x_test.npy", images)
    np.save("y_test.npy", labels)
    np.savez("all.npz", image=images, label=labels)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    (tmp_path / "files.txt").write_text("flat/0.png\tcat\nflat/1.png\tdog\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "target", "options"),
    [
        ("folder:flat", "ImageFolder", {"root": "$/flat", "size": 32}),
        ("flat?size=40&channels=1", "ImageFolder", {"root": "$/flat", "size": 40, "channels": 1}),
        ("list:files.txt", "FileList", {"file": "$/files.txt", "size": 32}),
        ("files.txt", "FileList", {"file": "$/files.txt", "size": 32}),
        ("x_train.npy", "Arrays", {"arrays": {"image": "$/x_train.npy", "label": "$/y_train.npy"}}),
        ("npy:all.npz?limit=3", "Arrays", {"arrays": "$/all.npz", "limit": 3}),
        (
            "train-images-idx3-ubyte.gz",
            "Idx",
            {"images": "$/train-images-idx3-ubyte.gz", "labels": "$/train-labels-idx1-ubyte.gz"},
        ),
        ("embedded:test", "Embedded", {"split": "test"}),
        ("embedded:", "Embedded", {"split": "pretrain"}),
        (
            "tfds:some/config:1.0.0/train[:90%]",
            "Tfds",
            {"name": "some/config:1.0.0", "split": "train[:90%]", "size": 32},
        ),
    ],
)
def test_a_string_is_the_component_that_a_dict_would_be(here, text, target, options):
    found = component(text, {"size": 32}, "data.pretrain")
    assert found == {"target": PLACE + target, **json.loads(json.dumps(options).replace("$", str(here)))}
    if target not in ("Tfds", "Embedded"):
        assert len(opened(text, "SRC", size=32)) > 1


def test_what_a_path_is_taken_for_is_told(here):
    told = []
    component("flat", {}, "data.pretrain", told.append)
    component("folder:flat", {}, "data.pretrain", told.append)
    assert told == ["data.pretrain=flat is taken as folder:flat"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("foldr:flat", "no source is named 'foldr'; did you mean 'folder'"),
        ("gs://bucket/train", "no source is named 'gs'"),
        ("nowhere", r"nowhere': no such file or folder. Write a path, or one of folder:"),
        ("folder:", "nothing follows 'folder:'"),
        ("tfds:imagenet2012", "has no split; write e.g. tfds:imagenet2012/train"),
        ("folder:flat?size=", "'size=' after '\\?' is no option"),
        ("mix:folder:flat", "write a mixture as mix:0.75"),
        ("odd.bin", "its name does not say what it holds"),
    ],
)
def test_strings_that_name_nothing_are_refused(here, text, told):
    (here / "odd.bin").touch()
    with pytest.raises(UserError, match=told):
        resolved(text, {"size": 32}, "data.pretrain")


def test_every_scheme_names_a_source_and_takes_over_options_that_it_has():
    for name, scheme in SCHEMES.items():
        made = Component(scheme.target, {}, name, slot=SOURCE).resolve()
        assert {"size", *scheme.takes} <= {*made.__dataclass_fields__, "size"}, name
    assert set(PICTURES) == {"size", "channels", "max_pixels", "pixels"}


def test_an_override_takes_over_what_the_recipe_says_of_its_pictures(here):
    own = load("simclr_resnet50_in1k", ["--config.data.pretrain=folder:flat"])
    assert own.data.pretrain.to_dict() == {"target": PLACE + "ImageFolder", "root": str(here / "flat"), "size": 256}
    assert own.data.examples is None
    toy = load("simclr_conv_fashion", ["--config.data.pretrain=folder:flat", "--config.data.pretrain.channels=1"])
    assert (toy.data.pretrain["size"], toy.data.pretrain.channels) == (32, 1)  # views of 28 pixels, and a seventh more
    assert load("simclr_conv_fashion", ["--config.data.probe=None"]).data.probe is None


def test_config_json_reopens_the_same_source_from_anywhere(here):
    spec = "mix:0.75*folder:flat?channels=1&size=8,.25*x_train.npy"
    config = load("simclr_conv_fashion", [f"--config.data.pretrain={spec}", "--config.data.probe=list:files.txt"])
    before = parse(config)
    os.chdir("/")
    after = parse(from_json(to_json(config)))
    for split in ("pretrain", "probe"):
        built = getattr(after.data, split).build()
        assert built.fingerprint() == getattr(before.data, split).build().fingerprint()
    assert after.data.pretrain.build().names == ("folder:flat?channels=1&size=8", "x_train.npy")


FLAT = {"target": PLACE + "ImageFolder", "root": "flat", "size": 28, "channels": 1}


@pytest.mark.parametrize(
    "mix", [{"embedded:test": 3, "flat?size=28&channels=1": 1}, (("embedded:test", 0.75), (FLAT, 0.25))]
)
def test_a_mixture_may_be_a_dict_or_pairs_of_strings_and_components(here, mix):
    config = load("simclr_conv_fashion").copy_and_resolve_references().to_dict()
    config["data"] = {"pretrain": {"mix": mix}}
    made = parse(config).data.pretrain
    assert made.options["weights"] in ((3, 1), (0.75, 0.25))
    assert [type(source).__name__ for source in made.build().sources] == ["Embedded", "ImageFolder"]


@pytest.mark.parametrize("mix", [{}, (), (("flat",),), {"flat": "much"}, "flat", (("flat", True), ("flat", 1))])
def test_mixtures_that_are_written_otherwise_are_refused(here, mix):
    with pytest.raises(UserError, match="write a mixture as dict"):
        resolved({"mix": mix}, {"size": 8}, "data.pretrain")


def test_planning_needs_no_data_where_parts_of_mixtures_and_subsets_have_examples():
    folder = {"target": PLACE + "ImageFolder", "root": "/nowhere", "size": 24}
    part = {"target": PLACE + "NamedPart", "source": folder}
    mixed = {"target": PLACE + "Mix", "sources": (part, dict(folder)), "weights": (1, 1)}
    config = load("simclr_conv_fashion").to_dict()
    config["data"] = {"pretrain": mixed, "examples": 1000}
    source, declared = _source(parse(config))
    assert declared
    assert isinstance(source, Declared)
    assert source[0]["image"].shape == (24, 24, 3)


@pytest.mark.parametrize(
    ("text", "pretrain", "test", "told"),
    [
        ("split", "split/train", "split/val", "learns from folder:$/split/train, is tested on folder:$/split/val"),
        ("folder:split/train", "split/train", "split/val", "is tested on folder:split/val"),
        ("x_train.npy", "x_train.npy", "x_test.npy", "is tested on npy:x_test.npy"),
        ("classes", "NamedPart", "NamedPart", "of 20 records, chosen by their names, are held out"),
        ("flat", "flat", None, "no labels, so all 20 records are learnt from"),
        ("both", "both", None, "no folder is a class"),
    ],
)
def test_one_name_of_data_gives_what_is_learnt_from_and_what_tests_it(here, text, pretrain, test, told):
    said = []
    found = splits_of(text, {"size": 8}, say=said.append)
    assert pretrain in str(found.pretrain)
    assert test is None if found.test is None else test in str(found.test)
    assert found.probe == (None if test is None else found.pretrain)
    assert any(told.replace("$/", "") in line.replace(f"{here}/", "") for line in said), said


def test_a_held_out_record_stays_held_out_when_others_come(here):
    def held():
        found = splits_of("classes", {"size": 8})
        train, test = (built_of(part) for part in (found.pretrain, found.test))
        names = [{part.name_of(i) for i in range(len(part))} for part in (train, test)]
        assert not names[0] & names[1]
        return names

    train, test = held()
    for i in range(40, 50):
        picture(here / f"classes/a/{i}.png")
    more_train, more_test = held()
    assert train <= more_train
    assert test <= more_test
    assert len(more_train) + len(more_test) == 30


def test_a_test_with_other_classes_or_without_labels_is_not_taken(here):
    picture(here / "split/val/c/0.png")
    assert splits_of("split", {"size": 8}).test["target"].endswith("NamedPart")
    picture(here / "few/a/0.png")
    assert splits_of("few", {"size": 8}).test is None


def test_the_command_line_says_what_is_wrong_with_a_name_of_data(here, capsys):
    assert (
        main(["train", "--config", "simclr_conv_fashion", "--workdir", "run", "--config.data.pretrain=foldr:flat"]) == 2
    )
    assert "data.pretrain='foldr:flat': no source is named 'foldr'; did you mean 'folder'" in capsys.readouterr().err
