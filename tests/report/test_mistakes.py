"""Where a head fails: the surest errors of the right records, in words as well as in colours."""

import json

import numpy as np
import pytest

from ssl_jax.data.panels import Pictures, Texts
from ssl_jax.recipe import load, to_json
from ssl_jax.report import mistakes
from ssl_jax.report.record import read

ROW = "pretrained (student)"
CLASSES = ("cat", "<b>dog")


@pytest.fixture
def run(tmp_path):
    """A run directory whose linear and errors probes were evaluated on 40 records."""
    (tmp_path / "eval" / "records").mkdir(parents=True)
    (tmp_path / "config.json").write_text(to_json(load("mae_vit_fashion:tiny")))
    columns = [{"title": "x", "value": "accuracy", "unit": "percent"}]
    numbers = {"ece": 0.1, "auc": 0.9, "confusion": [[15, 5], [2, 18]], "classes": CLASSES}
    groups = {"groups": {"<i>a": {"accuracy": 0.5, "interval": [0.4, 0.6], "n": 30}}}
    for probe, found in {"linear": {"accuracy": 0.8}, "errors": numbers, "subgroups": groups}.items():
        told = {"probe": probe, "columns": columns, "rows": {ROW: found}, "test": {"records": 40, "fingerprint": "f"}}
        (tmp_path / "eval" / f"{probe}.json").write_text(json.dumps(told))
        kept = {"ids": np.arange(40) + 100, "correct": np.arange(40) % 5 > 0, "predicted": np.arange(40) % 2}
        kept["probability"] = np.linspace(0.3, 1, 40)
        np.savez(tmp_path / "eval" / "records" / f"{probe}.npz", **{f"{ROW}/{name}": x for name, x in kept.items()})
    return tmp_path


def test_the_surest_errors_come_first_and_are_of_these_records_only(run):
    hard = mistakes.hardest(read(run), ROW, "f", 3)
    assert hard.ids.tolist() == [135, 130, 125]
    assert mistakes.hardest(read(run), ROW, "another") is None
    assert mistakes.hardest(read(run), "pretrained (teacher)", "f") is None
    for probe in ("linear", "errors"):
        np.savez(run / "eval" / "records" / f"{probe}.npz", **{f"{ROW}/ids": np.arange(3)})
    assert mistakes.hardest(read(run), ROW, "f") is None


@pytest.mark.parametrize("panel", [Pictures(np.zeros((2, 1, 8, 8, 1))), Texts([[[("a", "")]], [[("b", "")]]])])
def test_each_hard_example_says_what_it_is(panel):
    hard = mistakes.Hard(np.array([3, 5]), np.array([1, 0]), np.array([0.97, 0.9]))
    picture = mistakes.pictured(panel, hard, (0, 1), ("cat", "dog"), "student")
    assert "says dog (97%), is cat; says cat (90%), is dog." in picture.alt
    assert picture.png.startswith(b"\x89PNG")


def test_the_sections_say_in_words_what_they_show_and_escape_names(run):
    text = "".join(mistakes.sections(read(run)))
    assert "<b>" not in text
    assert "<i>" not in text
    for said in ("Right: cat 75%, &lt;b&gt;dog 90%.", "25.0%", "40.0 to 60.0", "Calibration."):
        assert said in text


def test_a_run_without_these_probes_has_no_section(run):
    for name in ("errors", "subgroups"):
        (run / "eval" / f"{name}.json").unlink()
    assert mistakes.sections(read(run)) == []


def test_what_is_no_matrix_is_not_drawn(run):
    for odd in ([[1, 2]], [[1, 2], [3]], "x", [[]], [[1e400, 2], [3, 4]]):
        found = json.loads((run / "eval" / "errors.json").read_text())
        found["rows"][ROW]["confusion"] = odd
        (run / "eval" / "errors.json").write_text(json.dumps(found))
        assert "Confusion" not in "".join(mistakes.sections(read(run)))
