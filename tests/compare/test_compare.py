"""Runs side by side: seeds are grouped, other data is told apart, and the page says what the files say."""

import json
import re

import numpy as np
import pytest

from ssl_jax.cli import main
from ssl_jax.compare import compute as costs
from ssl_jax.compare.results import claims, table
from ssl_jax.compare.run import compare
from ssl_jax.compare.runs import differences, distinct, grouped, opened
from ssl_jax.errors import UserError
from ssl_jax.recipe import load, to_json

HOSTILE = "<script>alert('x')</script>"
ROW = "pretrained (student)"


def made(folder, seed=0, accuracy=0.8, test="t", protocol="how", lr=1e-3, records=True, speed=64.0):
    """A run directory with one evaluation, of which what was right is kept."""
    (folder / "eval" / "records").mkdir(parents=True)
    overrides = [f"--config.seed={seed}", f"--config.optimizer.lr={lr}", "--config.log.pictures=False"]
    (folder / "config.json").write_text(to_json(load("mae_vit_fashion:tiny", overrides)))
    (folder / "env.json").write_text(json.dumps({"devices": {"cpu:cpu": 2}, "data": "d"}))
    lines = [{"step": 0, "health": "healthy", "probe_accuracy": 0.5}]
    lines += [{"step": s, "loss": 3.0 / s, "grad_norm": 1.0, "examples_per_s": speed} for s in (4, 8)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = [{"title": "kNN", "value": "accuracy", "unit": "percent", "probe": "knn"}]
    rows = {ROW: {"accuracy": accuracy, "interval": [accuracy - 0.1, accuracy + 0.1]}, "random init": {"accuracy": 0.3}}
    data = {part: {"records": 100, "fingerprint": test} for part in ("train", "test")}
    found = {"probe": "knn", "protocol": protocol, "columns": columns, "rows": rows, "label": "label", "step": 8} | data
    (folder / "eval" / "knn.json").write_text(json.dumps(found))
    if records:
        ids = np.random.default_rng(seed).permutation(100)
        kept = {f"{ROW}/ids": ids, f"{ROW}/correct": ids < 100 * accuracy}
        np.savez(folder / "eval" / "records" / "knn.npz", **kept)
    return folder


def groups_of(*folders):
    return grouped(opened([(str(folder), folder) for folder in folders]))


@pytest.fixture
def runs(tmp_path):
    seeds = [made(tmp_path / f"a{seed}", seed, 0.8 + 0.01 * seed) for seed in range(3)]
    return [*seeds, *(made(tmp_path / f"b{seed}", seed, 0.9 + 0.02 * seed, lr=2e-3) for seed in range(3))]


def test_runs_that_differ_in_their_seed_only_are_one_group(runs, tmp_path):
    again = made(tmp_path / "again", seed=1)
    groups = groups_of(*runs, again)
    assert [(group.name, group.seeds) for group in groups] == [
        ("a0 to a2", (0, 1, 2)), ("b0 to b2", (0, 1, 2)), ("again", (1,)),
    ]  # fmt: skip
    assert differences(groups) == {"optimizer.lr": (1e-3, 2e-3, 1e-3)}


def test_significance_is_over_seeds_in_pairs_and_over_the_same_records(runs):
    seeds, records = claims(table(groups_of(*runs)))
    assert seeds.difference.test == "t test, pairs of seeds"
    assert seeds.difference.value == pytest.approx(0.11)
    assert (seeds.difference.size, records.difference.size, records.difference.test) == (3, 100, "paired bootstrap")
    assert records.difference.value == pytest.approx(0.11)
    assert seeds.corrected >= seeds.difference.p
    (one,) = claims(table(groups_of(runs[0], runs[3])))
    assert (one.difference.test, one.difference.value) == ("McNemar", pytest.approx(0.1))


@pytest.mark.parametrize(
    ("other", "what"), [({"test": "u"}, "probe records and test records"), ({"protocol": "otherwise"}, "a protocol")]
)
def test_what_was_measured_otherwise_is_told_apart(tmp_path, other, what):
    found = table(groups_of(made(tmp_path / "a"), made(tmp_path / "b", lr=2e-3, **other)))
    assert found.titles == ("kNN [1]", "kNN [2]")
    assert found.notes[0] == f"kNN [2] is not comparable with kNN [1]: it has {what} of its own"
    assert claims(found) == []


def test_records_that_do_not_fit_are_no_evidence(tmp_path):
    a, b = made(tmp_path / "a"), made(tmp_path / "b", lr=2e-3, accuracy=0.9)
    np.savez(b / "eval" / "records" / "knn.npz", **{f"{ROW}/ids": np.arange(50), f"{ROW}/correct": np.ones(50)})
    assert claims(table(groups_of(a, b))) == []
    (b / "eval" / "records" / "knn.npz").write_bytes(b"torn")
    assert claims(table(groups_of(a, b))) == []


def test_what_was_kept_of_records_is_evidence_for_its_own_mean_only(tmp_path):
    """The probe `errors` keeps what was right, and its first column is no mean of that."""
    a, b = made(tmp_path / "a"), made(tmp_path / "b", lr=2e-3, accuracy=0.9)
    np.savez(
        b / "eval" / "records" / "knn.npz", **{f"{ROW}/ids": np.arange(100), f"{ROW}/correct": np.arange(100) < 85}
    )
    assert claims(table(groups_of(a, b))) == []


def test_compute_is_flops_or_else_the_time_of_all_devices(runs, monkeypatch):
    groups = groups_of(*runs)
    monkeypatch.setattr("ssl_jax.plan.work.flops_per_example", lambda config, allow: 10.0)
    counted = costs.compute(groups)
    assert counted.spent(groups[0], groups[0].first, np.array([4])) == 4 * 32 * 10.0

    def absent(config, allow):
        raise UserError("no such data")

    monkeypatch.setattr("ssl_jax.plan.work.flops_per_example", absent)
    timed = costs.compute(groups)
    assert timed.unit == "device-seconds"
    assert "no such data" in timed.why
    np.testing.assert_allclose(timed.spent(groups[0], groups[0].first, np.array([4, 8])), [2 * 2, 2 * 4])


@pytest.mark.slow
def test_flops_are_those_of_the_plan(tmp_path):
    from ssl_jax.plan.problem import problem
    from ssl_jax.plan.summary import summary
    from ssl_jax.plan.work import flops_per_example

    plain = summary(problem(load("mae_vit_fashion:tiny", ["--config.model.remat=none"])))
    assert round(flops_per_example(load("mae_vit_fashion:tiny"))) == plain["flops_per_example"]


def test_the_page_is_one_file_and_hostile_names_are_text(tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_jax.plan.work.flops_per_example", lambda config, allow: 10.0)
    a, b = made(tmp_path / "<b>a"), made(tmp_path / "b", lr=2e-3, accuracy=0.9, protocol=f"how {HOSTILE}")
    told = compare([(str(a), a), (str(b), b)], tmp_path / "out")
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "<script" not in page
    assert "<b>" not in page
    assert not re.search(r"https?://", page)
    assert page.count("<svg ") == 6  # probe and loss by examples and by compute, gradient norm, speed
    for text in (told, page):
        assert "optimizer.lr" in text
        assert "FLOPs" in text


def test_the_command_refuses_what_is_no_comparison(tmp_path, capsys):
    a = made(tmp_path / "a")
    for words, said in (([], "given 0"), ([a], "given 1"), ([a, a], "named twice"), ([a, tmp_path], "config.json")):
        assert main(["compare", *map(str, words), "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_are_as_short_as_they_can_be():
    assert distinct(["runs/a", "runs/b/"]) == ["a", "b"]
    assert distinct(["x/run", "y/run"]) == ["x/run", "y/run"]
