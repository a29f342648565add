"""Probes of series: forecasts with known answers, values that go missing, scores that are features; and refusals."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes import anomaly, forecast, missing
from ssl_jax.evaluate.readings import Reading

RNG = np.random.default_rng(0)


def seasons(count, steps=24, ahead=12, period=6):
    """Windows of one season with a phase, level and gain of their own, and what comes after them."""
    phase, gain, level = (
        RNG.uniform(0, 2 * np.pi, (count, 1, 2)),
        RNG.uniform(1, 3, (count, 1, 2)),
        RNG.normal(0, 5, (count, 1, 2)),
    )
    values = level + gain * np.sin(2 * np.pi * np.arange(steps + ahead)[:, None] / period + phase)
    series, future = values[:, :steps].astype(np.float32), values[:, steps:].astype(np.float32)
    fields = {
        "series": series,
        "valid": np.ones_like(series, bool),
        "future": future,
        "future_valid": np.ones_like(future, bool),
    }
    return Features(series.reshape(count, -1), None, np.arange(count), fields=fields)


def test_a_linear_model_forecasts_one_season_and_so_does_the_naive_forecast():
    split = Split(seasons(80), seasons(20), 0)
    units = lambda part: part._replace(x=forecast.in_units(part, 12).windows)  # noqa: E731
    found = forecast.Probe((4, 12)).run(replace(split, train=units(split.train), test=units(split.test)))
    future = split.test.fields["future"]
    power = np.square(future - future.mean(1, keepdims=True)).mean()
    assert found["mse"] < 1e-3 * power
    assert found["of_linear"] == pytest.approx(1)
    assert found["each"]["12"]["naive"]["mse"] < 1e-6 * power
    assert found["each"]["4"]["mae"] < 0.1
    noise = [part._replace(x=RNG.normal(size=(len(part.x), 3))) for part in (split.train, split.test)]
    blind = forecast.Probe((12,)).run(replace(split, train=noise[0], test=noise[1]))
    assert blind["mse"] > 0.7 * power
    assert blind["each"]["12"]["linear"] == found["each"]["12"]["linear"]
    assert forecast.season_of(split.test.fields["series"][0], np.ones((24, 2), bool)) % 6 == 0


def test_a_value_that_is_missing_in_the_future_counts_nowhere():
    split = Split(seasons(40), seasons(10), 0)
    wild = split.test.fields | {
        "future": split.test.fields["future"].copy(),
        "future_valid": split.test.fields["future_valid"].copy(),
    }
    wild["future"][:, 3], wild["future_valid"][:, 3] = 1e6, False
    kept = forecast.Probe((12,)).run(replace(split, test=split.test._replace(fields=wild)))
    assert kept["mse"] < 1


def test_tokens_are_read_as_asked_and_a_horizon_that_is_not_there_is_refused():
    split = Split(seasons(40), seasons(10), 0)
    tokens = [part._replace(x=part.fields["series"]) for part in (split.train, split.test)]
    read = replace(split, readings={Reading("tokens"): Split(*tokens, 0)})
    last, whole = (forecast.Probe((12,), read=how).run(read)["mse"] for how in ("last", "all"))
    assert whole == pytest.approx(forecast.Probe((12,)).run(split)["mse"])
    assert last != whole
    with pytest.raises(UserError, match="horizon 13, and records have 12 steps to come"):
        forecast.Probe((13,)).run(split)
    with pytest.raises(UserError, match="forecast: read='first'"):
        forecast.Probe(read="first")


def test_accuracy_falls_as_values_go_missing_and_nothing_else_is_touched():
    y = np.arange(300) % 3
    x = (np.eye(3, 6)[y].repeat(4, axis=1) + 0.3 * RNG.normal(size=(300, 24))).astype(np.float32)
    series = x.reshape(300, 12, 2)
    part = lambda rows: Features(x[rows], y[rows].astype(np.int32), np.arange(len(y[rows])))  # noqa: E731
    test = part(slice(150, 300))

    def again(change):
        batch = {"series": jnp.asarray(series[150:]), "valid": jnp.ones((150, 12, 2), bool), "_id": jnp.arange(150)}
        made = change(batch)
        assert made["series"].dtype == jnp.float32
        assert bool(jnp.all(jnp.where(made["valid"], batch["series"], 0) == made["series"]))
        return test._replace(x=np.asarray(made["series"]).reshape(150, -1))

    found = missing.Probe(shares=(0.0, 0.5, 0.9), stretch=2).run(Split(part(slice(0, 150)), test, 3, again=again))
    each = list(found["each"].values())
    assert each[0] == found["clean"] > 0.95
    assert each[0] > each[1] > each[2]
    with pytest.raises(UserError, match="made by no encoder"):
        missing.Probe().run(Split(part(slice(0, 150)), test, 3))


def test_a_score_that_is_a_feature_is_taken_as_it_is_and_tokens_where_they_are_asked_for():
    marks = np.zeros((20, 8), np.int64)
    marks[::2, 3] = 1
    made = lambda x: Features(x.astype(np.float32), None, np.arange(20), fields={"anomaly": marks})  # noqa: E731
    right = made((marks + 0.1 * RNG.random((20, 8)))[..., None])
    assert anomaly.Probe(score="itself").run(Split(right, right, 0))["auroc"] == 1.0
    with pytest.raises(UserError, match="takes one number for each token"):
        anomaly.Probe(score="itself").run(Split(made(RNG.random((20, 8, 2))), made(RNG.random((20, 8, 2))), 0))
    direction = np.where(marks[..., None] > 0, [0.0, 1.0], [1.0, 0.0]) + 0.05 * RNG.random((20, 8, 2))
    seen = Split(made(direction), made(direction), 0)
    pooled = Split(made(direction.mean(1)), made(direction.mean(1)), 0, readings={Reading("tokens"): seen})
    assert anomaly.Probe(read="tokens").run(pooled)["auroc"] > 0.99
