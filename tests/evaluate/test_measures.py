"""Measures against scikit-learn, Pillow, and numbers known beforehand."""

import numpy as np
import pytest
from PIL import Image
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import (
    adjusted_rand_score,
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    normalized_mutual_info_score,
    roc_auc_score,
    roc_curve,
)  # fmt: skip

from ssl_jax.errors import UserError
from ssl_jax.evaluate import calibration, clustering, confusion, dense, depth, detection, robustness, subgroups
from ssl_jax.evaluate.spectrum import alpha_req, lidar
from ssl_jax.evaluate.sphere import alignment, uniformity

rng = np.random.default_rng(0)
Y = rng.integers(0, 4, 300)
P = calibration.softmax(rng.standard_normal((300, 4)) + 1.5 * np.eye(4)[Y])


def test_agreement_of_clusters_equals_sklearn_and_matching_is_free_of_names():
    found = np.where(rng.random(300) < 0.3, rng.integers(0, 5, 300), (Y + 1) % 4)
    told = clustering.agreement(found, Y)
    assert told["nmi"] == pytest.approx(normalized_mutual_info_score(Y, found), abs=1e-12)
    assert told["ari"] == pytest.approx(adjusted_rand_score(Y, found), abs=1e-12)
    assert clustering.agreement((Y + 1) % 4, Y) == pytest.approx({"nmi": 1.0, "ari": 1.0, "accuracy": 1.0})
    # clusters 0 and 2 both want class 0; one of them gets the rest
    assert clustering.matched_accuracy(np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1, 0, 0])) == 4 / 7


def test_confusion_f1_and_iou_equal_sklearn_and_ignored_places_do_not_count():
    predicted = P.argmax(1)
    counts = confusion.confusion(predicted, Y, 4)
    np.testing.assert_array_equal(counts, confusion_matrix(Y, predicted))
    assert confusion.mean(confusion.f1(counts)) == pytest.approx(f1_score(Y, predicted, average="macro"), abs=1e-12)
    labels, found = np.array([[0, 0], [1, -1]]), np.array([[0, 1], [1, 1]])
    counts = confusion.confusion(found, labels, 3)
    np.testing.assert_allclose(confusion.iou(counts), [1 / 2, 1 / 2, np.nan])
    assert confusion.plain(confusion.class_accuracy(counts)) == [0.5, 1.0, None]


def test_calibration_of_known_probabilities_and_against_sklearn():
    sure = np.array([[0.9, 0.1]] * 10)
    assert calibration.ece(sure, np.array([0] * 9 + [1])) == pytest.approx(0, abs=1e-9)
    assert calibration.ece(sure, np.array([0] * 4 + [1] * 6)) == pytest.approx(0.5, abs=1e-9)
    mixed = np.concatenate([sure, np.array([[0.4, 0.6]] * 30)])  # gaps 0.1 of 10 and 0.4 of 30
    assert calibration.ece(mixed, np.zeros(40, int)) == pytest.approx((10 * 0.1 + 30 * 0.6) / 40, abs=1e-9)
    assert calibration.nll(P, Y) == pytest.approx(log_loss(Y, P), rel=1e-9)
    two = np.stack([1 - P[:, 0], P[:, 0]], 1)
    assert calibration.brier(two, (Y == 0).astype(int)) == pytest.approx(
        2 * brier_score_loss(Y == 0, P[:, 0]), rel=1e-9
    )
    assert calibration.auc(P, Y) == pytest.approx(roc_auc_score(Y, P, multi_class="ovr"), rel=1e-9)


def test_detection_equals_sklearn_curves():
    score, positive = np.round(P[:, 0], 2), Y == 0
    found = detection.detection(score, positive)
    assert found["auroc"] == pytest.approx(roc_auc_score(positive, score))
    assert found["aupr"] == pytest.approx(average_precision_score(positive, score))
    fpr, tpr, _ = roc_curve(positive, score, drop_intermediate=False)
    assert found["fpr95"] == fpr[np.argmax(tpr >= 0.95)]


def test_scores_of_strangeness_are_what_their_papers_say():
    logits = rng.standard_normal((50, 4))
    p = calibration.softmax(logits)
    np.testing.assert_allclose(detection.max_softmax(logits), -p.max(1), rtol=1e-12)
    np.testing.assert_allclose(detection.energy(logits), -np.log(np.exp(logits).sum(1)), rtol=1e-12)
    bank, y = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 3)), np.arange(200) % 2
    means = np.stack([bank[y == c].mean(0) for c in (0, 1)])
    oracle = EmpiricalCovariance(assume_centered=True).fit(bank - means[y])
    expected = np.min([oracle.mahalanobis(bank[:20] - m) for m in means], 0)
    np.testing.assert_allclose(detection.mahalanobis(bank, y, bank[:20], 0.0), expected, rtol=1e-6)
    circle = np.array([[1, 0], [0, 3]], np.float32)
    np.testing.assert_allclose(detection.knn_distance(circle, np.array([[5, 0]], np.float32), 2), [2**0.5], rtol=1e-6)


def test_wilson_is_as_published_and_small_groups_are_refused():
    assert subgroups.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I, method 3
    assert subgroups.wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    right = np.r_[np.ones(40), np.zeros(10), np.ones(20), np.zeros(20), np.ones(29)].astype(bool)
    groups = np.array(["a"] * 50 + ["b"] * 40 + ["c"] * 29)
    found = subgroups.by_group(right, groups)
    assert (found["worst"], found["worst_group"], found["gap"]) == (0.5, "b", pytest.approx(0.3))
    assert found["refused"] == {"c": 29}
    with pytest.raises(UserError, match="every group has fewer than 30 records"):
        subgroups.by_group(right, np.arange(len(right)))


def test_depth_of_known_errors():
    true = np.array([1.0, 2.0, 4.0, 0.0])  # 0: not known
    found = depth.depth_measures(np.array([1.2, 2.0, 2.0, 9.0]), true)
    assert found == pytest.approx({"abs_rel": (0.2 + 0.5) / 3, "rmse": np.sqrt((0.04 + 4) / 3), "delta1": 2 / 3})


def test_logits_are_resized_between_the_centres_of_patches():
    x = rng.standard_normal((1, 3, 4, 1)).astype(np.float32)
    oracle = Image.fromarray(x[0, ..., 0]).resize((20, 15), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(dense.resized(x, (15, 20))[0, ..., 0], np.asarray(oracle), atol=1e-5)


def test_mean_corruption_error_of_the_baseline_is_one():
    base = {"fog": (0.5, 0.7), "snow": (0.4, 0.8)}
    assert robustness.mean_corruption_error(base, base) == 1
    assert robustness.relative_corruption_error(base, 0.3, base, 0.3) == pytest.approx(1)
    half = {"fog": (0.25, 0.35), "snow": (0.4, 0.8)}
    assert robustness.mean_corruption_error(half, base) == pytest.approx(0.75)
    assert robustness.mean_accuracy(base) == pytest.approx(0.4)


def test_a_power_law_has_its_exponent():
    waves = np.cos(np.pi * (np.arange(100)[:, None] + 0.5) * np.arange(1, 65) / 100)  # orthogonal, of mean 0
    for alpha in (0.5, 1.0, 2.0):
        assert alpha_req(3 + waves * np.arange(1, 65) ** (-alpha / 2)) == pytest.approx(alpha, abs=1e-6)
    assert np.isnan(alpha_req(np.ones((10, 4))))


def test_lidar_counts_the_axes_that_records_lie_on():
    for count in (2, 8):
        means = 100 * np.concatenate([np.eye(count, 16), -np.eye(count, 16)])
        views = means[:, None] + 1e-4 * rng.standard_normal((2 * count, 6, 16))
        assert lidar(views) == pytest.approx(count, rel=0.01)
    with pytest.raises(ValueError, match="at least 2 of each"):
        lidar(np.zeros((5, 1, 4)))


def test_alignment_and_uniformity_of_known_points():
    z = rng.standard_normal((50, 8))
    assert alignment(np.stack([z, 3 * z], 1)) == pytest.approx(0)
    assert alignment(np.stack([z, -z], 1)) == pytest.approx(4)
    assert uniformity(np.ones((9, 4))) == pytest.approx(0)
    assert uniformity(np.array([[1.0, 0], [-2, 0]])) == pytest.approx(-8)  # antipodal: log exp(-2 * 4)
    assert uniformity(rng.standard_normal((3000, 512))) == pytest.approx(-4, abs=0.02)
