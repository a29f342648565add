import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import linen as nn

from ssl_jax.data.sources.arrays import Arrays
from ssl_jax.errors import UserError
from ssl_jax.evaluate.baselines import Rows, random_variables, supervised_split
from ssl_jax.evaluate.features import extract
from ssl_jax.evaluate.suite import Settings, evaluate, save, table

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


def test_an_encoder_that_diverged_is_named(encoder, variables, make_signals):
    broken = jax.tree.map(lambda x: x * np.nan, variables)
    with pytest.raises(UserError, match="8 of 8 records have features that are NaN"):
        evaluate({"student": (encoder, broken)}, make_signals(8, 0), make_signals(8, 1), Settings(probes=("knn",)))


def test_labels_outside_the_classes_are_refused(encoder, variables, make_signals):
    test = Arrays({"signal": make_signals(4, 1).columns["signal"], "label": np.array([0, 1, 9, 3])})
    with pytest.raises(UserError, match=r"label 9 of record 2 is outside \[0, 4\)"):
        evaluate({"student": (encoder, variables)}, make_signals(8, 0), test, Settings(probes=("knn",)))
