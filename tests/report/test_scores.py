"""The table of probes where an objective has several encoders, and measures that are no percentages."""

import math

from ssl_jax.report import scores


def test_an_encoder_is_compared_with_its_own_baselines():
    names = ("pretrained (image)", "pretrained (text)", "random init (image)", "random init (text)", "supervised")
    rows = {name: {"accuracy": 0.9 - 0.1 * i} for i, name in enumerate(names)}
    linear = {"probe": "linear", "columns": [{"title": "linear", "value": "accuracy", "unit": "percent"}], "rows": rows}
    said = "Linear probe 90.0 %: 20.0 points above random init (image), 40.0 points above supervised."
    assert scores.verdict(scores.scores({"linear": linear})) == said


def test_nats_are_shown_as_perplexity_where_a_column_says_so():
    column = {"title": "perplexity", "value": "nats", "unit": "exp"}
    found = scores.scores({"own_task": {"columns": [column], "rows": {"x": {"nats": math.log(50)}}}})
    assert round(found.rows["x"]["perplexity"].value, 6) == 50
    assert not found.rows["x"]["perplexity"].percent


def test_an_encoder_that_is_not_the_first_of_its_kind_has_the_baselines_of_that_one():
    rows = {"pretrained (teacher)": 0.9, "random init (student)": 0.5, "random init (text)": 0.1}
    found = {"columns": [{"title": "linear", "value": "accuracy", "unit": "percent"}]}
    found["rows"] = {row: {"accuracy": value} for row, value in rows.items()}
    found["kinds"] = {"teacher": "student"}
    assert (
        scores.verdict(scores.scores({"linear": found}))
        == "Linear probe 90.0 %: 40.0 points above random init (student)."
    )


def test_less_is_best_where_a_column_says_so():
    column = {"title": "ECE", "value": "ece", "unit": "percent", "better": "lower"}
    rows = {"pretrained (student)": {"ece": 0.1}, "random init": {"ece": 0.2}}
    found = scores.scores({"errors": {"columns": [column], "rows": rows}})
    assert scores._best([row["ECE"] for row in found.rows.values()]) == 0.1
