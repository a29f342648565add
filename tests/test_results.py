"""The script behind the tables of `docs/results/`: what it computes from runs, and which runs it does not count."""

import importlib.machinery
import importlib.util
import json
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "results"
RECIPES = ["barlow_twins_conv_fashion:tiny", "byol_conv_fashion:tiny"]
FIVE, TEN = "accuracy_5", "accuracy_10"


@pytest.fixture
def tool():
    loader = importlib.machinery.SourceFileLoader("results_tool", str(TOOL))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def probe(name, columns, **rows):
    return {
        "probe": name, "protocol": f"how {name} is done", "train": {"records": 500}, "test": {"records": 400},
        "columns": [{"title": c, "value": c, "unit": "percent"} for c in columns], "rows": rows,
    }  # fmt: skip


def finished(runs, recipe, seed, linear, few, baselines=None):
    """A run directory that needs neither training nor evaluation. `few`, `baselines`: accuracy with most labels."""
    folder = runs / f"{recipe.replace(':', '-')}-seed{seed}"
    (folder / "eval").mkdir(parents=True)
    (folder / "cpu.json").write_text(json.dumps({"cpu_seconds": 60.0 * (1 + seed)}))
    rows = {"pretrained (student)": few} | (baselines or {})
    probes = {
        "linear": probe("linear", ["accuracy"], **{row: {"accuracy": linear} for row in rows}),
        "fewshot": probe("fewshot", [TEN, FIVE], **{row: {TEN: v, FIVE: v / 2} for row, v in rows.items()}),
        "health": probe("health", [], **{row: {} for row in rows}),
    }
    for name, content in probes.items():
        (folder / "eval" / f"{name}.json").write_text(json.dumps(content))


def table(tool, monkeypatch, tmp_path, *seeds):
    out = tmp_path / "table.md"
    words = [*RECIPES, "--seeds", *map(str, seeds), "--runs", str(tmp_path / "runs"), "--out", str(out)]
    monkeypatch.setattr(tool.sys, "argv", ["results", *words])
    tool.main()
    lines = [line for line in out.read_text().splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in ([c.strip() for c in line.strip("|").split("|")] for line in lines)}


def test_means_spreads_and_gains_are_over_seeds_against_the_baselines_of_the_same_seed(tool, monkeypatch, tmp_path):
    runs = tmp_path / "runs"
    finished(runs, RECIPES[0], 0, 0.80, 0.70, {"random init": 0.60, "raw input": 0.65})
    finished(runs, RECIPES[0], 1, 0.82, 0.74, {"random init": 0.66, "raw input": 0.65})
    finished(runs, RECIPES[1], 0, 0.78, 0.68)
    finished(runs, RECIPES[1], 1, 0.78, 0.70)
    rows = table(tool, monkeypatch, tmp_path, 0, 1)
    assert rows[""] == ["accuracy", TEN, FIVE, "over random init", "over raw input", "CPU min"]
    # Gains: 10 and 8 points, 5 and 9; standard deviation of two numbers: their distance over the root of two.
    expected = ["81.0 ± 1.4", "72.0 ± 2.8", "36.0 ± 1.4", "+9.0 ± 1.4", "+7.0 ± 2.8", "1.5"]
    assert rows["barlow_twins_conv_fashion (student)"] == expected
    # Its baselines are those of the first recipe: 8 and 4 points.
    assert rows["byol_conv_fashion (student)"][3] == "+6.0 ± 2.8"
    assert rows["random init"][1] == "63.0 ± 4.2"


def test_a_run_that_a_signal_stopped_is_not_counted(tool, monkeypatch, tmp_path):
    def stopped(*words):
        folder = Path(words[words.index("--workdir") + 1])
        folder.mkdir(parents=True)
        (folder / "train.log").write_text(
            "warning: stopped by SIGTERM at step 3 of 8; the same command resumes there\n"
        )

    monkeypatch.setattr(tool, "ssl_jax", stopped)
    with pytest.raises(SystemExit, match="stopped by SIGTERM at step 3 of 8"):
        table(tool, monkeypatch, tmp_path, 0)
    assert not list(tmp_path.rglob("cpu.json"))
