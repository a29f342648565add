"""A new objective is one file and one config, outside the package; docs/forking.md shows these very files."""

import json
import math
import re
import shutil
import sys
from pathlib import Path

import pytest

from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.recipe import from_json, parse

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "simsiam"
SMALL = (
    "batch_size=8", "total_steps=3", "model.widths=8,", "model.strides=4,", "model.kernels=3,", "objective.hidden=16,",
    "objective.out=16", "objective.predictor_hidden=8", "augment.views.image.jitter_prob=0",
    "evaluate.every_percent=100", "evaluate.health_examples=32", "log.every_steps=1", "log.tensorboard=False",
)  # fmt: skip


@pytest.fixture
def fork(tmp_path, monkeypatch) -> Path:
    """The two files of the example, alone in a folder of their own."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "examples" not in p])
    monkeypatch.delitem(sys.modules, "simsiam", raising=False)
    for name in ("simsiam.py", "simsiam_fashion.py"):
        shutil.copy(EXAMPLE / name, tmp_path / name)
    yield tmp_path
    sys.modules.pop("simsiam", None)


def test_an_objective_outside_the_package_trains_from_its_config_alone(fork):
    workdir = fork / "run"
    overrides = [f"--config.{setting}" for setting in SMALL]
    argv = ["train", "--config", str(fork / "simsiam_fashion.py:tiny"), "--workdir", str(workdir), *overrides]
    assert main(argv) == 0
    assert Path(sys.modules["simsiam"].__file__).parent == fork
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = {r["step"]: r["loss"] for r in records if "loss" in r}
    assert list(losses) == [1, 2, 3]
    assert all(math.isfinite(v) and -1 <= v <= 1 for v in losses.values())
    assert any("health" in r for r in records)
    assert (workdir / "checkpoints" / "3").is_dir()

    # A run directory is data: code outside ssl_jax runs from it only when the user names it.
    saved = from_json((workdir / "config.json").read_text())
    with pytest.raises(UserError, match="--allow simsiam"):
        parse(saved).check()
    parse(saved, allow=("simsiam",)).check()


def test_the_config_of_a_fork_has_at_most_60_lines():
    assert len((EXAMPLE / "simsiam_fashion.py").read_text().splitlines()) <= 60


def test_python_shown_in_the_forking_guide_is_in_the_files_it_names():
    """Each block is a verbatim piece of the file whose path stands before it."""
    text = (ROOT / "docs" / "forking.md").read_text()
    blocks = re.findall(r"`([\w/]+\.py)`[^`]*?\n```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count("```python")
    assert {EXAMPLE / "simsiam.py", EXAMPLE / "simsiam_fashion.py"} <= {ROOT / path for path, _ in blocks}
    for path, block in blocks:
        assert block in (ROOT / path).read_text(), path
