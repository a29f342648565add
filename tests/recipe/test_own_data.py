"""`--data`: what is learnt from and tested on, a recipe that suits pictures and machine, and the whole way of one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_jax.cli import main
from ssl_jax.data.look import Look, look
from ssl_jax.data.sources import ImageFolder
from ssl_jax.errors import UserError
from ssl_jax.recipe import load, parse, plain
from ssl_jax.recipe.automatic import GIB, ON_ACCELERATOR, ON_CPU, Machine, choose
from ssl_jax.recipe.own_data import learning_from, pictures_in

CPU = Machine("cpu", "cpu", 1, 16 * GIB, 4)
GPU = Machine("gpu", "NVIDIA H100", 1, 70 * GIB, 16)


def pictures(count, short=300):
    return Look(count, min(count, 256), short, 400, 3, True)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two classes of twenty pictures, one of them damaged, six of 16 bits, and arrays of grey ones."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40 + i % 3, 60, 3), np.uint8)
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 200 if i % 7 == 1 else pixels).save(path)
    (tmp_path / "photos" / "a" / "38.png").write_bytes(b"\x89PNG of no use")
    np.save("grey.npy", rng.integers(0, 256, (50, 28, 28, 1), np.uint8))
    return tmp_path / "photos"


def test_a_look_finds_sizes_classes_and_what_cannot_be_read(folder):
    found = look(ImageFolder(folder, size=16, pixels=(0, 65535)))
    assert (found.count, found.seen, found.short, found.width, found.channels) == (40, 40, 41, 60, 3)
    assert (found.bad, found.classes, found.sizes) == (1, ("a", "b"), (20, 20))
    assert found.told().startswith(
        "40 pictures of 2 classes (20 each), about 60 x 41 pixels; 1 of 40 that were looked at"
    )
    assert "a/38.png first (" in found.told()


@pytest.mark.parametrize(
    ("found", "machine", "recipe", "settings"),
    [
        (pictures(320), CPU, "simclr_conv_folder", {"augment.size": 64, "batch_size": 64, "total_examples": 9600}),
        (pictures(16), CPU, "simclr_conv_folder", {"batch_size": 8, "total_examples": 6000}),
        (pictures(10**6, 40), CPU, "simclr_conv_folder", {"augment.size": 32, "batch_size": 256}),
        (pictures(5_000, 60), GPU, "simclr_resnet18_folder", {"augment.size": 48, "model.stem": "small"}),
        (pictures(50_000), GPU, "simclr_resnet50_folder", {"augment.size": 224, "model.dtype": "bfloat16"}),
        (pictures(50_000), GPU._replace(memory=8 * GIB), "simclr_resnet50_folder", {"batch_size": 32}),
        (pictures(50_000), GPU._replace(devices=3), "simclr_resnet50_folder", {"batch_size": 192}),
        (pictures(10**6), GPU, "dino_vits_folder", {"batch_size": 256, "augment.views.local.size": 96}),
    ],
)
def test_the_recipe_suits_pictures_and_machine(found, machine, recipe, settings):
    choice = choose(found, machine)
    assert choice.recipe == recipe
    assert {f"--config.{key}={value}" for key, value in settings.items()} <= set(choice.overrides)
    parse(load(choice.recipe, choice.overrides)).check()
    assert f"{found.count:,} pictures on {machine}" in choice.reasons[0]


def test_every_recipe_that_may_be_chosen_ships_and_sides_grow():
    for suited in (*ON_CPU, *ON_ACCELERATOR):
        assert load(suited.recipe).augment.size in suited.sides
        assert list(suited.sides) == sorted(suited.sides)


def test_the_data_of_a_recipe_becomes_what_is_named(folder):
    said = []
    config = learning_from("photos", plain(load("simclr_resnet18_folder")), ["--config.augment.size=112"], said.append)
    data = parse(config).data
    train, test = data.pretrain.build(), data.test.build()
    assert len(train) + len(test) == 40
    assert not set(train.ids) & set(test.ids)
    assert (train[0]["image"].shape, data.crop, data.examples) == ((128, 128, 3), "host", None)
    assert data.probe.build().fingerprint() == train.fingerprint()
    assert any("more than 8 bits; 0 is black in them and 65535 white" in line for line in said), said
    assert any("that were looked at" in line for line in said), said


def test_pictures_in_arrays_are_cropped_on_the_device_and_normalised_by_their_channels(folder):
    config = learning_from("grey.npy", plain(load("simclr_resnet18_folder")), [], lambda line: None)
    assert (config["data"]["crop"], config["augment"]["mean"]) == ("device", (0.449,))
    assert (config["data"]["probe"], config["data"]["test"]) == (None, None)


def test_what_holds_no_pictures_needs_a_recipe(tmp_path):
    np.savez(tmp_path / "x.npz", tokens=np.zeros((4, 3), np.int32))
    with pytest.raises(UserError, match="For records that are no pictures name a recipe: --config"):
        pictures_in(str(tmp_path / "x.npz"))


LESS = (
    "model.widths=8,", "model.strides=4,", "model.kernels=3,", "objective.hidden=8,", "objective.out=8", "total_steps=2",
    "augment.views.image.jitter_prob=0", "batch_size=8", "evaluate.every_percent=0", "log.tensorboard=False",
    "evaluate.probes=knn,", "evaluate.baselines=random,", "log.pictures=False",
)  # fmt: skip


def test_the_same_line_resumes_with_what_was_chosen_whatever_machine_it_is(folder, tmp_path, capsys, monkeypatch):
    line = ["train", "--data", "photos", "--workdir", "run", *(f"--config.{setting}" for setting in LESS)]
    assert main(line) == 0
    first, config = capsys.readouterr(), (tmp_path / "run" / "config.json").read_bytes()
    assert "chosen: SimCLR, small convolutional encoder (simclr_conv_folder)" in first.out + first.err
    assert "Next: ssl-jax eval --workdir run" in first.out
    monkeypatch.setattr("ssl_jax.devices.machine.this_machine", lambda: pytest.fail("asked for again"))
    assert main(line) == 0
    again = capsys.readouterr()
    assert "chosen:" not in again.out + again.err
    assert "resumed at step 2 of 2" in again.out + again.err
    assert (tmp_path / "run" / "config.json").read_bytes() == config
    assert json.loads(config)["data"]["test"]["target"].endswith("NamedPart")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--data", "photos", "--workdir", "photos/run"],
            "--workdir photos/run lies in --data photos, and what is written",
        ),
        (["--data", "photos/a?labelled=False", "--workdir", "photos/a"], "--workdir photos/a lies in --data photos/a"),
        (["--data", "few", "--workdir", "run"], "2 pictures are too few to learn from; name 16 at least"),
        (["--data", "photo", "--workdir", "run"], "--data='photo': no such file or folder"),
        (["--data", "photos", "--workdir", "run", "--config", "mlm_bert_wordnet:tiny"], "the recipe is for text"),
    ],
)
def test_what_cannot_be_learnt_from_is_one_message(folder, capsys, words, told):
    for i in range(2):
        Image.new("RGB", (20, 20)).save(
            (folder.parent / "few").mkdir(exist_ok=True) or folder.parent / "few" / f"{i}.png"
        )
    assert main(["train", *words]) == 2
    assert told in capsys.readouterr().err
    assert not (folder.parent / "run").exists()


def test_without_a_recipe_or_data_both_are_named(capsys):
    assert main(["train", "--workdir", "run"]) == 2
    told = capsys.readouterr().err
    assert "train needs --config RECIPE." in told
    assert "For pictures of your own one is chosen: --data FOLDER" in told
