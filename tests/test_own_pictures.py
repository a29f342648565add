"""docs/your-own-pictures.md holds: its commands run, in order, on a small folder of pictures."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_jax.arguments import parse_arguments
from ssl_jax.cli import main
from ssl_jax.recipe import load, parse, recipes

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your-own-pictures.md").read_text(encoding="utf-8")
RECIPE = ROOT / "docs" / "examples" / "pictures" / "my_pictures.py"
# As `:tiny`, and smaller still.
LESS = (
    "batch_size=8", "total_steps=1", "augment.size=16", "augment.views.image.jitter_prob=0", "objective.hidden=8,",
    "objective.out=8", "model.widths=8,", "model.strides=4,", "model.kernels=3,", "evaluate.every_percent=0",
    "evaluate.probes=knn,", "evaluate.baselines=raw,", "log.tensorboard=False", "log.pictures=False",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of the page, twenty pictures of each class in two sizes, and the recipe beside it."""
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 256, (20 + i % 2, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i:04}.png")
    shutil.copy(RECIPE, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fenced(language: str) -> str:
    return "".join(re.findall(rf"^```{language}\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))


def test_the_recipe_splits_the_folder_into_two_parts_that_share_no_picture(folder):
    recipe = parse(load("my_pictures.py:tiny"))
    recipe.check()
    data = recipe.data
    train, test = data.pretrain.build(), data.test.build()
    assert (len(train), len(test)) == (32, 8)
    assert not set(train.ids) & set(test.ids)
    assert train.classes == ("cats", "dogs")
    assert train[0]["image"].shape == (64, 64, 3)
    assert data.probe.build().fingerprint() == train.fingerprint()


def test_recipes_and_keys_on_the_page_are_there(folder):
    for line in fenced("bash").splitlines():
        arguments = parse_arguments(shlex.split(line)[1:])
        load(getattr(arguments, "config", None) or "simclr_conv_folder", arguments.overrides)
    inline = re.findall(r"`(--config\.[^`]+)`", PAGE)
    assert len(inline) > 4
    for override in inline:
        load("simclr_resnet18_folder", [override])
    shipped = {r.name for r in recipes() if r.name.endswith("_folder")} - {
        "clip_vit_folder"
    }  # docs/pairs.md has that one
    assert set(re.findall(r"\w+_folder", PAGE)) == shipped


def test_the_commands_of_the_page_lead_to_its_report(folder):
    lines = [shlex.split(line)[1:] for line in fenced("sh").splitlines()]
    assert [line[0] for line in lines] == ["train", "eval", "report", "preview"]
    for command, *arguments in lines:
        less = [f"--config.{setting}" for setting in LESS] if "--data" in arguments else []
        assert main([command, *arguments, *less]) == 0
    assert (folder / "views.png").stat().st_size > 0
    assert "kNN" in (folder / "runs" / "mine" / "report.html").read_text(encoding="utf-8")
