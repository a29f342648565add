import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes import fewshot


def gaussians(count, seed, distance=2.0, classes=4, width=24):
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    x = distance * np.eye(classes, width)[y] + rng.standard_normal((count, width))
    return Features(x.astype(np.float32), y.astype(np.int32), np.arange(count, dtype=np.int32))


@pytest.fixture(scope="module")
def split():
    return Split(gaussians(400, 0), gaussians(1000, 1), 4)


@pytest.fixture(scope="module")
def result(split):
    return fewshot.Probe(shots=(5, 40), draws=3).run(split)


def test_accuracy_is_the_mean_over_draws_of_different_labels(result):
    for shots in (5, 40):
        drawn = result[f"draws_{shots}"]
        assert len({d["labels"] for d in drawn}) == 3
        assert result[f"accuracy_{shots}"] == pytest.approx(np.mean([d["accuracy"] for d in drawn]))
        assert result[f"std_{shots}"] == pytest.approx(np.std([d["accuracy"] for d in drawn], ddof=1))


def test_more_labels_help_and_none_reach_the_bayes_rate(result):
    assert 0.5 < result["accuracy_5"] < result["accuracy_40"] < 0.87


def test_draws_are_a_function_of_the_seed_not_of_the_features(split, result):
    other = split.train._replace(x=split.train.x[:, ::-1] + 1)
    again = fewshot.Probe(shots=(5,), draws=3).run(Split(other, split.test, 4))
    assert [d["labels"] for d in again["draws_5"]] == [d["labels"] for d in result["draws_5"]]


def test_there_is_a_column_for_each_number_of_labels_most_first():
    assert [c["title"] for c in fewshot.Probe(shots=(5, 40)).columns] == ["40/class", "5/class"]


def test_only_the_drawn_labels_are_used(split, result):
    from ssl_jax.evaluate.splits import draw

    rows = draw(split.train.y, 5, 0, 0)
    hidden = split.train._replace(y=np.random.default_rng(0).permutation(split.train.y))
    hidden.y[rows] = split.train.y[rows]
    seen = []

    def learn(chosen):
        seen.append(chosen)
        return Split(hidden.take(rows), split.test, 4)

    probe = fewshot.Probe(shots=(5,), draws=1)
    assert probe.run(Split(split.train, split.test, 4, learn))["accuracy_5"] == result["draws_5"][0]["accuracy"]
    np.testing.assert_array_equal(seen[0], rows)


def test_one_label_per_class_says_that_nothing_was_chosen(split):
    result = fewshot.Probe(shots=(1,), draws=1).run(split)
    assert "leaves none to choose C on" in result["draws_1"][0]["note"]
    assert result["std_1"] == 0.0


def test_too_few_labels_are_an_error_with_the_class(split):
    with pytest.raises(UserError, match="class 0 has 100 labels"):
        fewshot.Probe(shots=(101,)).run(split)
