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
