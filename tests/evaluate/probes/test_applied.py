"""Probes that fit a head or a bank: known answers, and refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes import (
    anomaly,
    clustering,
    depth,
    errors,
    frames,
    linear,
    outliers,
    segmentation,
    subgroups,
)
from ssl_jax.evaluate.readings import Reading

rng = np.random.default_rng(0)


def features(x, y, **fields):
    return Features(x.astype(np.float32), None if y is None else y.astype(np.int32), np.arange(len(x)), fields=fields)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    rows = np.arange(len(x))
    part = lambda at: features(x[at], y[at], half=rows[at] % 2)  # noqa: E731
    return Split(part(rows[:600]), part(rows[600:1200]), 10)


def plain(result):
    return json.dumps({k: v for k, v in result.items() if k != "records"}, allow_nan=False)


def test_clusters_of_digits_are_mostly_their_classes_and_noise_is_not(digits):
    found = clustering.Probe().run(digits)
    assert 0.6 < found["nmi"] < 0.85
    assert 0.6 < found["accuracy"] < 0.9
    noise = replace(digits, test=digits.test._replace(x=rng.standard_normal(digits.test.x.shape)))
    assert abs(clustering.Probe().run(noise)["ari"]) < 0.02


def test_errors_and_subgroups_are_those_of_one_head(digits):
    found, groups = errors.Probe().run(digits), subgroups.Probe("half").run(digits)
    plain(found)
    counts = np.array(found["confusion"])
    assert np.trace(counts) / counts.sum() == linear.Probe().run(digits)["accuracy"]
    assert found["auc"] > 0.99
    assert 0 < found["ece"] < 0.1
    right = found["records"]["correct"]
    assert groups["groups"]["1"]["accuracy"] == pytest.approx(right[1::2].mean())
    assert groups["gap"] == pytest.approx(abs(right[1::2].mean() - right[::2].mean()))


def test_outliers_of_a_held_out_digit_are_found_by_every_score(digits):
    found = outliers.Probe(held=(0,)).run(digits)
    plain(found)
    scores = {name: found[f"{name}_auroc"] for name in ("knn", "softmax", "energy", "mahalanobis")}
    assert min(scores.values()) > 0.75, scores  # chance is 0.5
    assert max(scores.values()) > 0.95, scores
    with pytest.raises(UserError, match="hold out some classes"):
        outliers.Probe(held=(77,)).run(digits)


def sequences(count, labels):
    y = rng.integers(0, 3, (count, 6))
    x = 2 * np.eye(3, 8)[y] + rng.standard_normal((count, 6, 8))
    return features(x, None, labels=np.repeat(labels(y), 2, axis=1))


def test_frames_are_classified_one_by_one_and_unlabelled_ones_left_out():
    some = lambda y: np.where(np.arange(6) < 4, y, -1)  # noqa: E731
    train, test = sequences(200, some), sequences(100, some)
    split = Split(train, test, 0, readings={frames.TOKENS: Split(train, test, 0)})
    found = frames.Probe().run(split)
    assert (found["n_train"], found["n_test"]) == (800, 400)
    best = test.x[:, :4, :3].argmax(-1) == test.fields["labels"][:, :8:2]  # the nearest mean: Bayes
    assert found["accuracy"] == pytest.approx(best.mean(), abs=0.04)
    torn = test._replace(fields={"labels": np.zeros((100, 7), int)})
    with pytest.raises(UserError, match="a multiple is needed"):
        frames.Probe().run(replace(split, readings={frames.TOKENS: Split(train, torn, 0)}))


def test_a_point_is_an_anomaly_where_it_lies_far_from_normal_ones():
    def series(count):
        wrong = rng.random((count, 10)) < 0.1
        x = np.array([4.0, 0, 0]) + 0.3 * rng.standard_normal((count, 10, 3)) + wrong[..., None] * np.array([0, 3.0, 0])
        return features(x, None, anomaly=wrong)

    found = anomaly.Probe().run(Split(series(50), series(50), 0))
    assert found["auroc"] > 0.99
    assert found["share"] == pytest.approx(0.1, abs=0.03)
    silent = series(5)._replace(fields={"anomaly": np.zeros((5, 10))})
    with pytest.raises(UserError, match="0 of 50 test points are marked"):
        anomaly.Probe().run(Split(series(5), silent, 0))


def maps(count):
    """Tokens that say class and depth of their patch, on a grid of 4 x 4, and maps of 8 x 8."""
    y = rng.integers(0, 3, (count, 4, 4))
    x = np.concatenate([np.eye(3)[y], 0.1 * rng.standard_normal((count, 4, 4, 3))], -1).reshape(count, 16, 6)
    whole = y.repeat(2, axis=1).repeat(2, axis=2)
    return features(x, None, segments=whole, depth=(1.0 + whole).astype(np.float32))._replace(grid=(4, 4))


def dense(test):
    train = maps(40)
    return Split(train, test, 0, readings={Reading("tokens"): Split(train, test, 0)})


FAST = {"steps": 60, "batch": 8, "rates": (1e-2, 1e-1)}


def test_a_dense_head_reads_maps_off_tokens():
    found = segmentation.Probe(**FAST).run(dense(maps(20)))
    plain(found)
    assert found["pixel_accuracy"] > 0.9  # bilinear logits round the corners of patches
    assert found["miou"] > 0.8
    assert found["most_frequent"] < 0.4
    flat = maps(20)._replace(fields={"segments": np.zeros((20, 5), int)})
    with pytest.raises(UserError, match="an image encoder with patches"):
        segmentation.Probe().run(Split(flat, flat, 0, readings={Reading("tokens"): Split(flat, flat, 0)}))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["bins", "linear"])
def test_a_dense_head_reads_distances_off_tokens(head):
    found = depth.Probe(**FAST | {"steps": 100}, head=head).run(dense(maps(20)))
    plain(found)
    assert found["abs_rel"] < 0.5 * found["constant_abs_rel"], found
    assert found["delta1"] > 0.7, found
