"""What is wrong with data is said, or survived, by every command that reads it."""

import json
from pathlib import Path

import pytest
from fault_runs import commands, losses

RECIPE = str(Path(__file__).with_name("data_recipe.py"))
ALLOW = ["--allow", str(Path(__file__).with_name("fault_objective.py"))]
SHORT = ["--config.total_steps=4"]


def lines(kind, workdir, evaluated=("0",)):
    """Training, evaluation and report of one kind of data; `evaluated` is the code that `eval` exits with, and its options."""
    here = ["--workdir", str(workdir), *ALLOW]
    return [
        ["0", "train", "--config", f"{RECIPE}:{kind}", "--workdir", str(workdir), *SHORT],
        [evaluated[0], "eval", *here, *evaluated[1:]],
        ["0", "report", *here],
    ]


def test_a_few_unreadable_records_end_no_command(tmp_path):
    """Two in the pretraining (one of which would be clipped), two in the probe and one in the test split, of 64 each, where 1
    in 20 is allowed."""
    quick = ("0", "--config.evaluate.probes=knn,", "--config.evaluate.baselines=raw,supervised")
    said = commands(tmp_path / "said", *lines("bad", tmp_path / "run", quick))
    assert "left out 2 of 64 records that cannot be read: 5 (ValueError: truncated); 6 (" in said
    assert "left out 1 of 64 records that cannot be read: 7 (" in said
    found = json.loads((tmp_path / "run/eval/knn.json").read_text())["rows"]
    assert list(found) == ["pretrained (student)", "raw input", "supervised"]
    assert {(row["n_train"], row["n_test"]) for row in found.values()} == {(62, 63)}
    assert not (tmp_path / "run/eval/linear.json").exists()
    listed = map(json.loads, (tmp_path / "run/bad_records.jsonl").read_text().splitlines())
    assert {bad["index"]: bad["reason"].partition(";")[0] for bad in listed} == {
        3: "ValueError: truncated",
        9: "ValueError: 'image' holds float32 from 0 to 255",
    }


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("no_probe", "the recipe has no data.probe and data.test"),
        ("minus", "the probe split has no labels: all are -1"),
    ],
)
def test_runs_without_labels_train_and_report_and_eval_says_why_it_does_not(tmp_path, kind, told):
    said = commands(tmp_path / "said", *lines(kind, tmp_path / "run", ("2",)))
    assert told in said
    assert "Traceback" not in said
    assert (tmp_path / "run/report.html").exists()


def test_a_run_is_refused_before_its_first_step_where_pixels_would_be_clipped(tmp_path):
    options = ["--config", f"{RECIPE}:floats", "--workdir", str(tmp_path / "run"), *SHORT]
    said = commands(tmp_path / "said", ["2", "train", *options], ["2", "preview", *options[:2]])
    assert said.count("'image' holds float32 from 0 to 255; images are uint8, or floats in [0, 1]") == 2
    assert losses(tmp_path / "run") == {}
