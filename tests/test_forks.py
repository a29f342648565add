"""Text and pairs from outside the package, as a user writes them: every command works on files of theirs alone."""

import json
import sys
from pathlib import Path

import pytest

from ssl_jax.cli import main

FORKS = Path(__file__).parent / "forks"
RECIPES = ("mlm_words", "gpt_words", "clip_shapes")
OBJECTIVES = ("mlm", "gpt", "clip")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Modules of the forks are imported anew, from their folder."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [path.stem for path in FORKS.glob("*.py")]:
        sys.modules.pop(name, None)


def command(name, recipe, *words):
    return main([name, "--config", str(FORKS / f"{recipe}.py"), *words])


def rows(workdir, probe):
    return json.loads((workdir / "eval" / f"{probe}.json").read_text())["rows"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_fork_trains_is_evaluated_beside_every_baseline_and_reported(recipe, tmp_path, capsys):
    workdir, allow = tmp_path / "run", ["--allow", str(FORKS)]
    assert command("train", recipe, "--workdir", str(workdir)) == 0
    assert main(["eval", "--workdir", str(workdir), *allow]) == 0
    table = capsys.readouterr().out
    found = rows(workdir, "linear")
    towers = ("image", "text") if recipe == "clip_shapes" else ("student",)
    assert {f"pretrained ({tower})" for tower in towers} <= found.keys()
    for baseline in ("random init", "raw input", "supervised"):
        assert sum(baseline in row for row in found) == len(towers), table
    assert all(0 <= row["accuracy"] <= 1 for row in found.values())
    own = {"mlm_words": ("accuracy", "nats"), "gpt_words": ("nats",), "clip_shapes": ("recall",)}[recipe]
    assert all(word in table for word in own), table
    if recipe == "clip_shapes":  # a probe of the user that compares two encoders
        compared = rows(workdir, "retrieval")["pretrained (image, text)"]
        assert compared["candidates"] == 96
        assert 0 <= compared["recall"] <= 1
    assert main(["report", "--workdir", str(workdir), *allow]) == 0
    page = (workdir / "report.html").read_text()
    assert "Traceback" not in page
    assert {"mlm_words": "guessed", "gpt_words": "text 1", "clip_shapes": "red"}[recipe] in page


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_fork_is_previewed_as_text_and_pictures(recipe, tmp_path):
    assert command("preview", recipe, "--out", str(tmp_path / "views.png")) == 0
    assert (tmp_path / "views.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_fork_is_verified_and_planned(recipe, capsys):
    assert command("verify", recipe) == 0
    said = capsys.readouterr().out
    assert "passed" in said
    assert command("plan", recipe, "--devices", "8", "--chip", "h100", "--no-compile") in (0, 3)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_of_another_modality_takes_at_most_100_lines(name):
    assert len((FORKS / f"{name}.py").read_text().splitlines()) <= 100
