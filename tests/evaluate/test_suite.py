import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np
import pytest
from flax import linen as nn

from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.errors import UserError
from ssl_jax.evaluate.baselines import Rows, random_variables, supervised_split
from ssl_jax.evaluate.features import extract
from ssl_jax.evaluate.probes import fewshot, knn
from ssl_jax.evaluate.run import saved
from ssl_jax.evaluate.shots import feasible
from ssl_jax.evaluate.suite import Incomplete, Settings, evaluate, reason, save, table

SETTINGS = Settings(shots=(5,), draws=2, supervised_examples=500, supervised_few_examples=50)


class Fit:
    """Stands in for training: the encoder itself, and a note of what it was asked for."""

    def __init__(self, encoder, variables):
        self.encoder, self.variables, self.asked = encoder, variables, []

    def __call__(self, source, examples, seed):
        self.asked.append(
            (len(source), np.bincount([source[i]["label"] for i in range(len(source))]).tolist(), examples)
        )
        return self.encoder, self.variables


@pytest.fixture(scope="module")
def fit(encoder, variables):
    return Fit(encoder, variables)


@pytest.fixture(scope="module")
def results(encoder, variables, make_signals, fit):
    encoders = {"teacher": (encoder, variables)}
    return evaluate(encoders, make_signals(160, 0), make_signals(200, 1), SETTINGS, lambda _: fit, step=70)


def test_the_table_has_a_row_for_each_encoder_and_baseline_and_every_column(results):
    assert list(results["rows"]) == ["pretrained (teacher)", "random init", "raw input", "supervised"]
    titles = [column["title"] for column in results["columns"]]
    assert titles == ["linear", "kNN", "5/class", "feature std", "RankMe"]
    text = table(results)
    head, *rows = text.split("\n\n")[0].splitlines()
    assert all(title in head for title in titles)
    assert [row.count("±") for row in rows] == [1] * 4
    assert "step 70" in text
    assert "chance 25.0" in text


def test_rows_that_are_measured_at_the_same_time_are_the_same(results, encoder, variables, make_signals, fit):
    two = replace(SETTINGS, workers=2)
    again = evaluate(
        {"teacher": (encoder, variables)}, make_signals(160, 0), make_signals(200, 1), two, lambda _: fit, step=70
    )
    assert again == results
    assert list(again["rows"]) == list(results["rows"])


def test_an_encoder_that_diverged_is_told_though_rows_are_measured_at_the_same_time(
    encoder, variables, make_signals, fit
):
    broken, begun = jax.tree.map(lambda x: x * np.nan, variables), []
    with pytest.raises(UserError, match="the encoder diverged"):
        evaluate(
            {"teacher": (encoder, broken)}, make_signals(160, 0), make_signals(200, 1), replace(SETTINGS, workers=2),
            lambda _: fit, say=begun.append,
        )  # fmt: skip
    assert begun[0] == "evaluating: supervised"


def test_results_are_plain_data_and_the_same_twice(results, encoder, variables, make_signals, fit):
    assert json.loads(json.dumps(results, allow_nan=False)) == json.loads(json.dumps(results))
    again = evaluate(
        {"teacher": (encoder, variables)}, make_signals(160, 0), make_signals(200, 1), SETTINGS, lambda _: fit, step=70
    )
    assert again == results


def test_a_table_that_cannot_be_written_is_printed_and_lies_elsewhere(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "eval").write_text("a file of that name")
    with pytest.raises(UserError, match="--out FOLDER"):
        saved(results, {"own task": ValueError("no")}, tmp_path / "run")
    assert table(results) in capsys.readouterr().out
    (elsewhere,) = tmp_path.glob("ssl-jax-*/eval/linear.json")
    precious = tmp_path / "precious"
    precious.write_text("of somebody else")
    elsewhere.unlink()
    elsewhere.symlink_to(precious)
    save(results, elsewhere.parent.parent)
    assert precious.read_text() == "of somebody else"
    assert json.loads(elsewhere.read_text())["probe"] == "linear"


def test_every_probe_has_a_file_with_its_protocol_and_what_it_was_measured_on(results, tmp_path):
    paths = save(results, tmp_path)
    assert sorted(p.name for p in (tmp_path / "eval").iterdir()) == [
        "fewshot.json",
        "health.json",
        "knn.json",
        "linear.json",
    ]
    for path in paths:
        content = json.loads(path.read_text())
        assert content["protocol"]
        assert (content["encoders"], content["step"], content["seed"]) == (["teacher"], 70, 0)
        assert len(content["test"]["fingerprint"]) == 64
        assert content["rows"] == {name: row[content["probe"]] for name, row in results["rows"].items()}


def test_the_supervised_baseline_sees_only_the_labels_of_its_column(fit, results):
    whole, *drawn = fit.asked[:3]
    assert whole == (160, [40] * 4, 500)
    assert drawn == [(20, [5] * 4, 50)] * 2


def test_few_label_draws_are_the_same_for_every_row(results):
    hashes = {json.dumps([d["labels"] for d in row["fewshot"]["draws_5"]]) for row in results["rows"].values()}
    assert len(hashes) == 1


def test_the_random_baseline_has_other_weights_of_the_same_shapes(encoder, variables, make_signals):
    fresh = random_variables(encoder, make_signals(3, 0), seed=1)
    assert jax.tree.map(np.shape, fresh) == jax.tree.map(np.shape, variables)
    kernel = lambda v: v["params"]["dense"]["kernel"]  # noqa: E731
    assert np.abs(kernel(fresh) - kernel(variables)).max() > 0.1
    again = random_variables(encoder, make_signals(9, 5), seed=1)
    np.testing.assert_array_equal(kernel(fresh), kernel(again))


class Normed(nn.Module):
    @nn.compact
    def features(self, signal, train=False):
        return nn.BatchNorm(not train, momentum=0.9, name="bn")(signal)


def test_batch_statistics_of_the_random_baseline_are_those_of_the_data(encoder, make_signals):
    normed = replace(encoder, module=Normed(), stats=("extra", "batch_stats"))
    source = make_signals(50, 0)
    features = extract(normed, random_variables(normed, source, seed=1), source).x
    np.testing.assert_allclose(features.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(features.std(0), 1, atol=0.02)


def test_a_supervised_split_learns_again_for_the_rows_it_is_given(fit, make_signals):
    train, test = make_signals(40, 0), make_signals(8, 1)
    split = supervised_split(fit, 100, 10, 0, train, test)
    part = split.subset(np.array([4, 5, 6, 7]))
    assert fit.asked[-1] == (4, [1, 1, 1, 1], 10)
    np.testing.assert_allclose(part.train.x, split.train.x[4:8], rtol=1e-5, atol=1e-6)


def test_rows_of_a_source_are_a_source(make_signals):
    source = make_signals(10, 0)
    rows = Rows(source, np.array([7, 2]))
    assert len(rows) == 2
    np.testing.assert_array_equal(rows[0]["signal"], source[7]["signal"])
    np.testing.assert_array_equal(rows.batch(np.array([1]))["signal"], source.batch(np.array([2]))["signal"])
    assert rows.fingerprint() != Rows(source, np.array([2, 7])).fingerprint()


def test_without_a_trainer_there_is_no_supervised_row(encoder, variables, make_signals):
    settings = Settings(probes=("knn",))
    results = evaluate({"student": (encoder, variables)}, make_signals(40, 0), make_signals(8, 1), settings)
    assert list(results["rows"]) == ["pretrained (student)", "random init", "raw input"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(probes=("lin",)), "'lin' is unknown; use any of linear, knn, fewshot"),
        (Settings(probes=("features",)), "'features' is unknown"),
        (Settings(probes=("os.path",)), r"'os.path' is unknown"),
        (Settings(baselines=("pixels",)), "'pixels' is unknown; use any of random, raw, supervised"),
    ],
)
def test_what_is_unknown_is_named_with_what_is_known(encoder, variables, make_signals, settings, told):
    with pytest.raises(UserError, match=told):
        evaluate({"student": (encoder, variables)}, make_signals(8, 0), make_signals(8, 1), settings)


NEAREST = {"target": "ssl_jax.evaluate.probes.knn:Probe", "k": 1}  # of 8 records, 20 neighbours are refused before


def test_more_neighbours_than_records_are_refused_before_any_feature_is_made(variables, make_signals):
    with pytest.raises(UserError, match="k=20 neighbours of 8 labelled examples; use a smaller k"):
        evaluate({"student": (None, variables)}, make_signals(8, 0), make_signals(8, 1), Settings(probes=("knn",)))


def test_an_encoder_that_diverged_is_named(encoder, variables, make_signals):
    broken = jax.tree.map(lambda x: x * np.nan, variables)
    with pytest.raises(UserError, match="8 of 8 records have features that are NaN"):
        evaluate({"student": (encoder, broken)}, make_signals(8, 0), make_signals(8, 1), Settings(probes=(NEAREST,)))


def test_labels_outside_the_classes_are_refused(encoder, variables, make_signals):
    test = Arrays({"signal": make_signals(4, 1).columns["signal"], "label": np.array([0, 1, 9, 3])})
    with pytest.raises(UserError, match=r"label 9 of record 2 is outside \[0, 4\)"):
        evaluate({"student": (encoder, variables)}, make_signals(8, 0), test, Settings(probes=(NEAREST,)))


@pytest.fixture
def user_probes(monkeypatch):
    """`user_probes.py` beside this file can be imported."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


# --- several encoders


KNN = Settings(probes=("knn",), baselines=("random", "raw"))


@pytest.fixture(scope="module")
def towers(encoder, variables):
    """An objective's encoders: student and teacher of one kind, and a wider one."""
    wide = replace(encoder, module=type(encoder.module)(40), path=("params", "wide"))
    more = wide.module.init(jax.random.key(3), np.zeros((1, 24), np.float32), method="features")
    teacher = replace(encoder, path=("extra", "teacher", "encoder"))
    return {"student": (encoder, variables), "teacher": (teacher, variables), "wide": (wide, more)}


def test_encoders_of_one_kind_share_their_baselines_and_others_have_their_own(towers, make_signals):
    train, test = make_signals(40, 0), make_signals(20, 1)
    pair = {name: towers[name] for name in ("student", "teacher")}
    rows = evaluate(pair, train, test, KNN)["rows"]
    assert list(rows) == ["pretrained (student)", "pretrained (teacher)", "random init", "raw input"]
    rows = evaluate(towers, train, test, KNN, chosen=("teacher", "wide"))["rows"]
    assert list(rows) == [
        "pretrained (teacher)", "pretrained (wide)", "random init (student)", "random init (wide)",
        "raw input (student)", "raw input (wide)",
    ]  # fmt: skip
    with pytest.raises(UserError, match="'text' is unknown; use any of student, teacher, wide"):
        evaluate(towers, train, test, KNN, chosen=("text",))


def test_another_encoder_keeps_the_rows_of_the_first_where_they_can_be_compared(towers, make_signals, tmp_path):
    train, test, said = make_signals(40, 0), make_signals(20, 1), []
    stored = lambda: json.loads((tmp_path / "eval" / "knn.json").read_text())  # noqa: E731
    first = evaluate(towers, train, test, KNN, step=5, chosen=("student",))
    save(first, tmp_path, said.append)
    save(evaluate(towers, train, test, KNN, step=5, chosen=("wide",)), tmp_path, said.append)
    assert (stored()["encoders"], said) == (["student", "wide"], [])
    assert [row for row in stored()["rows"] if row.startswith("pretrained")] == [
        "pretrained (student)", "pretrained (wide)",
    ]  # fmt: skip
    assert stored()["rows"]["random init (student)"] == first["rows"]["random init (student)"]["knn"]
    save(evaluate(towers, train, test, KNN, step=6, chosen=("teacher",)), tmp_path, said.append)
    assert stored()["encoders"] == ["teacher"]
    assert "pretrained (wide)" not in stored()["rows"]
    assert any("pretrained (wide)" in line and "step differ" in line for line in said)


def test_a_probe_sees_what_several_encoders_make_of_the_same_records(towers, make_signals, user_probes):
    probes = ("knn", "user_probes:BothNorms")
    settings = replace(KNN, probes=probes, allow=("user_probes",), baselines=("random",))
    results = evaluate(towers, make_signals(40, 0), make_signals(20, 1), settings, chosen=("student",))
    assert list(results["rows"]) == [
        "pretrained (student)", "pretrained (student, wide)", "random init (student)", "random init (student, wide)",
    ]  # fmt: skip
    found = results["rows"]["pretrained (student, wide)"]
    assert found.keys() == {"both_norms"}
    for name in ("student", "wide"):
        x = extract(*towers[name], make_signals(20, 1)).x
        assert found["both_norms"][name] == pytest.approx((x**2).sum(1).mean(), rel=1e-4)
    assert results["rows"]["pretrained (student)"].keys() == {"knn", "health"}


# --- probes as components


@pytest.mark.parametrize(
    ("probes", "allow", "told"),
    [
        (("user_probes:BothNorms",), (), "allow"),
        (("ssl_jax.benchmark.peers.compare:Worker",), (), "ssl_jax.benchmark.peers.compare"),
        (({"target": "ssl_jax.data.sources.arrays:Arrays", "arrays": "x.npz"},), (), "Arrays"),
        (({"target": "ssl_jax.evaluate.probes.knn:Probe", "neighbours": 5},), (), "has no option 'neighbours'"),
        (("knn", {"target": "ssl_jax.evaluate.probes.knn:Probe", "k": 5}), (), "two are named 'knn'"),
        (({"target": "ssl_jax.evaluate.probes.knn:Probe", "name": "../knn"},), (), "has no name"),
    ],
)
def test_only_a_probe_that_is_allowed_is_made(encoder, variables, make_signals, probes, allow, told):
    with pytest.raises(UserError, match=told):
        evaluate({"x": (encoder, variables)}, make_signals(8, 0), make_signals(8, 1), Settings(probes, allow=allow))


def test_a_probe_may_be_given_options_and_a_name(encoder, variables, make_signals):
    probes = ("knn", {"target": "ssl_jax.evaluate.probes.knn:Probe", "k": 3, "name": "three"})
    settings = Settings(probes, baselines=())
    row = evaluate({"x": (encoder, variables)}, make_signals(40, 0), make_signals(8, 1), settings)["rows"]
    assert {name: result["k"] for name, result in row["pretrained (x)"].items() if name != "health"} == {
        "knn": 20, "three": 3,
    }  # fmt: skip


# --- what fails


def test_what_fails_is_told_at_the_end_and_the_rest_is_kept(encoder, variables, make_signals, fit):
    def no_room(_):
        raise UserError("no room")

    def broken(_):
        return {}["image"]

    settings = Settings(probes=("knn", "regression"), supervised_examples=10)
    arguments = {"x": (encoder, variables)}, make_signals(40, 0), make_signals(8, 1), settings
    with pytest.raises(Incomplete, match="supervised: no room") as caught:
        evaluate(*arguments, no_room)
    assert "pretrained (x), regression; random init, regression; raw input, regression: the probe" in str(caught.value)
    rows = caught.value.results["rows"]
    assert [(row, set(found)) for row, found in rows.items()] == [
        (row, {"knn", "health"}) for row in ("pretrained (x)", "random init", "raw input")
    ]
    assert table(caught.value.results).splitlines()[1].startswith("pretrained (x)")
    with pytest.raises(Incomplete, match="supervised: KeyError: 'image'") as caught:
        evaluate(*arguments, broken)
    assert isinstance(reason(caught.value.results, caught.value.failures), KeyError)


def test_records_without_labels_are_told_before_long_work(encoder, variables, make_signals):
    bare = Arrays({"signal": make_signals(40, 0).columns["signal"]})
    said = []
    with pytest.raises(UserError, match="the probe split has no labels: its records have signal, and no 'label'"):
        evaluate({"x": (encoder, variables)}, bare, bare, Settings(probes=("knn",)), say=said.append)
    assert said == []


# --- fields


@dataclass(frozen=True, eq=False)
class Instruments:
    """Signals with two labels."""

    inner: Arrays
    labels: ClassVar = {"kind": ("a", "b", "c", "d"), "loud": ()}

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        return self.inner[index]

    def fingerprint(self):
        return self.inner.fingerprint()


def instruments(signals):
    y = signals.columns["label"]
    return Instruments(
        Arrays({"signal": signals.columns["signal"], "kind": y, "loud": y % 2, "state": y[:, None] * 1.0})
    )


def test_a_label_is_a_field_and_no_encoder_sees_any_of_them(encoder, variables, make_signals):
    def only_signals(batch):
        assert batch.keys() == {"signal"}
        return {"signal": batch["signal"] * 0.01}

    seen = {"x": (replace(encoder, preprocess=only_signals), variables)}
    train, test = instruments(make_signals(80, 0)), instruments(make_signals(40, 1))
    settings = replace(KNN, label="kind", target="state", baselines=("random", "raw"))
    kind = evaluate(seen, train, test, settings)
    loud = evaluate(seen, train, test, replace(settings, label="loud", baselines=()))
    assert (kind["label"], kind["rows"]["raw input"]["knn"]["chance"]) == ("kind", 0.25)
    assert (loud["label"], loud["rows"]["pretrained (x)"]["knn"]["chance"]) == ("loud", 0.5)


class Sequence(nn.Module):
    @nn.compact
    def tokens(self, signal, train=False):
        return nn.Dense(5, name="dense")(signal.reshape(-1, 6, 4))


def test_an_encoder_that_gives_tokens_is_for_probes_that_take_them(encoder, make_signals, user_probes):
    each = replace(encoder, module=Sequence(), method="tokens")
    variables = each.module.init(jax.random.key(0), np.zeros((1, 24), np.float32), method="tokens")
    settings = Settings(probes=("knn", "user_probes:Shape"), baselines=("random",), allow=("user_probes",))
    with pytest.raises(
        Incomplete, match="the encoder gives 6 x 5 numbers for a record, and this probe takes one row"
    ) as e:
        evaluate({"x": (each, variables)}, make_signals(40, 0), make_signals(8, 1), settings)
    assert all(row == {"shape": {"count": 6}} for row in e.value.results["rows"].values())


def test_the_measures_of_collapse_are_left_out_for_tokens_unless_they_were_asked_for(
    encoder, make_signals, user_probes
):
    each = replace(encoder, module=Sequence(), method="tokens")
    variables = each.module.init(jax.random.key(0), np.zeros((1, 24), np.float32), method="tokens")
    settings = Settings(probes=("user_probes:Shape",), baselines=("random",), allow=("user_probes",))
    found = evaluate({"x": (each, variables)}, make_signals(40, 0), make_signals(8, 1), settings)
    assert all(row == {"shape": {"count": 6}} for row in found["rows"].values())
    asked = replace(settings, probes=("user_probes:Shape", "health"))
    with pytest.raises(Incomplete, match="random init, health: the encoder gives 6 x 5 numbers for a record"):
        evaluate({"x": (each, variables)}, make_signals(40, 0), make_signals(8, 1), asked)


# --- records that cannot be read, and labels that are few


class Damaged:
    """A source some of whose records cannot be read."""

    def __init__(self, inner, bad):
        self.inner, self.bad = inner, bad

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        if index in self.bad:
            raise OSError("damaged")
        return self.inner[index]

    def fingerprint(self):
        return self.inner.fingerprint()


def test_records_that_cannot_be_read_are_left_out_of_every_row(encoder, variables, make_signals):
    """The table is that of the readable records, and few-label draws learn from the records that their labels are of."""
    train, test, asked = make_signals(80, 0), make_signals(40, 1), []

    def fit(source, examples, seed):
        asked.append([int(source[i]["label"]) for i in range(len(source)) if i not in getattr(source, "bad", ())])
        return encoder, variables

    settings = Settings(probes=("knn", "fewshot"), shots=(4,), draws=1, max_bad_fraction=0.05)
    damaged = Damaged(train, {0, 33}), Damaged(test, {5})
    results = evaluate({"x": (encoder, variables)}, *damaged, settings, lambda _: fit)
    readable = [Rows(s.inner, np.array([i for i in range(len(s)) if i not in s.bad])) for s in damaged]
    wanted = evaluate({"x": (encoder, variables)}, *readable, replace(settings, baselines=("raw",)))
    for row in ("pretrained (x)", "raw input"):
        assert results["rows"][row]["knn"] == wanted["rows"][row]["knn"]
    assert [sorted(labels) for labels in asked[1:]] == [sorted([0, 1, 2, 3] * 4)]
    with pytest.raises(UserError, match=r"data\.max_bad_fraction"):
        evaluate({"x": (encoder, variables)}, *damaged, replace(settings, max_bad_fraction=0.01))


def few_of_class_3(signals):
    kept = (signals.columns["label"] != 3) | (np.arange(len(signals)) < 16)
    return Arrays({name: column[kept] for name, column in signals.columns.items()})


def test_shots_that_the_labels_do_not_suffice_for_are_left_out(make_signals):
    few, probes = few_of_class_3(make_signals(60, 0)), {"knn": knn.Probe(), "fewshot": fewshot.Probe((2, 9, 3))}
    for source in (few, Damaged(few, ())):
        kept, notes = feasible(probes, source, "label", 0.0)
        assert (kept["knn"], kept["fewshot"].shots) == (probes["knn"], (2, 3))
        assert re.search("class 3 has 4 labels.*fewer than shots=9, which are left out; use at most 4", notes[0])
        assert feasible({"fewshot": fewshot.Probe((4, 1))}, source, "label", 0.0)[1] == ()
    with pytest.raises(UserError, match="use at most 4"):
        feasible({"fewshot": fewshot.Probe((9,)), "health": None}, few, "label", 0.0)


def test_they_are_told_before_any_feature_and_the_other_probes_are_kept(encoder, variables, make_signals):
    few, said = few_of_class_3(make_signals(60, 0)), []
    settings = Settings(probes=("knn", "fewshot"), shots=(9, 50), baselines=())
    results = evaluate({"x": (encoder, variables)}, few, make_signals(20, 1), settings, say=said.append)
    assert [column["title"] for column in results["columns"]] == ["kNN", "feature std", "RankMe"]
    assert "shots=9,50" in said[0]
    assert "evaluating" in said[1]
    assert results["notes"] == said[:1]
    assert said[0] in table(results)


@pytest.mark.parametrize("values", [True, False])
def test_labels_that_are_all_minus_one_are_told_to_be_none(encoder, variables, make_signals, values):
    inner = make_signals(8, 0)
    inner.columns["label"][:] = -1
    source = inner if values else Damaged(inner, ())
    with pytest.raises(UserError, match="the probe split has no labels: all are -1 in the field 'label'"):
        evaluate({"x": (encoder, variables)}, source, source, Settings(probes=("knn",)))
