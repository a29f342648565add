import tracemalloc

import numpy as np
import pytest

from ssl_jax.evaluate.features import standardise
from ssl_jax.evaluate.probes.health import (
    directions,
    embedding_measures,
    feature_std,
    measures,
    named,
    rankme,
    ridge_accuracy,
    verdict,
)
from ssl_jax.evaluate.ridge import ridge, ridge_classes

rng = np.random.default_rng(0)
ISOTROPIC = rng.standard_normal((1000, 64))
RELU = np.maximum(ISOTROPIC @ rng.standard_normal((64, 128)) + 8, 0)  # non-negative with a large common mean


def check(x, accuracy=0.8, error=0.01):
    return measures(x) | {"probe_accuracy": accuracy, "probe_error": error}


def test_rankme_counts_the_directions_of_isotropic_features():
    assert rankme(ISOTROPIC) == pytest.approx(63.4, abs=0.5)
    assert rankme(ISOTROPIC[:, :4] @ rng.standard_normal((4, 64))) == pytest.approx(4, abs=0.3)
    assert rankme(np.ones((100, 16))) == pytest.approx(1, abs=1e-3)


def test_rankme_is_the_same_for_more_rows_than_features_and_fewer():
    s = np.linalg.svd(ISOTROPIC, compute_uv=False)
    p = s / s.sum() + 1e-7
    expected = np.exp(-np.sum(p * np.log(p)))
    assert rankme(ISOTROPIC) == pytest.approx(expected, rel=1e-9)
    assert rankme(ISOTROPIC.T) == pytest.approx(expected, rel=1e-9)


def test_feature_std_is_one_for_isotropic_directions_and_zero_for_constants():
    assert feature_std(ISOTROPIC) == pytest.approx(1, abs=0.01)
    assert feature_std(np.ones((10, 4))) == pytest.approx(0, abs=1e-9)
    assert feature_std(np.zeros((10, 4))) == 0


def test_feature_std_is_unmoved_by_the_lengths_of_rows():
    assert feature_std(ISOTROPIC * rng.uniform(0.1, 10, (1000, 1))) == pytest.approx(feature_std(ISOTROPIC))


@pytest.mark.parametrize("x", [ISOTROPIC, RELU, 0.01 * ISOTROPIC, ISOTROPIC[:32]], ids=["iso", "relu", "small", "few"])
def test_features_that_tell_inputs_apart_are_healthy(x):
    assert verdict([check(x)]) == "healthy"
    assert verdict([check(x)] * 3) == "healthy"


@pytest.mark.parametrize(
    "x",
    [
        np.ones((100, 16)),
        np.zeros((100, 16)),
        10 + 1e-3 * ISOTROPIC,
        rng.standard_normal((1000, 1)) * rng.standard_normal((1, 64)),
        5 + rng.standard_normal((1000, 1)) * rng.standard_normal((1, 64)) + 1e-4 * ISOTROPIC,
        np.where(np.arange(64) == 3, np.nan, ISOTROPIC),
    ],
    ids=["constant", "zero", "offset", "rank one", "rank one and offset", "nan"],
)
def test_features_that_do_not_are_collapsed_at_once_whatever_the_probe_says(x):
    assert verdict([check(ISOTROPIC), check(x.astype(np.float32), accuracy=0.8)]) == "collapsed"


def test_a_rank_that_falls_below_half_of_its_best_is_degrading_the_second_time():
    low = ISOTROPIC[:, :20] @ rng.standard_normal((20, 64))
    assert verdict([check(ISOTROPIC), check(low)]) == "healthy"
    assert verdict([check(ISOTROPIC), check(low), check(low)]) == "degrading"
    assert verdict([check(ISOTROPIC), check(low), check(ISOTROPIC)]) == "healthy"


def test_a_probe_that_falls_by_more_than_its_error_is_degrading_the_second_time():
    steady = [check(ISOTROPIC, accuracy=a) for a in (0.70, 0.80, 0.81, 0.785, 0.785)]
    assert verdict(steady) == "healthy"
    falling = [check(ISOTROPIC, accuracy=a) for a in (0.70, 0.80, 0.765, 0.76)]
    assert [verdict(falling[:n]) for n in (2, 3, 4)] == ["healthy", "healthy", "degrading"]
    noisy = [check(ISOTROPIC, accuracy=a, error=0.03) for a in (0.70, 0.80, 0.765, 0.765)]
    assert verdict(noisy) == "healthy"


def text(*points):
    """Checks (step, RankMe, accuracy) of an encoder."""
    return [
        check(ISOTROPIC, accuracy=a) | {"step": step, "rankme": rank, "centred_rank": rank} for step, rank, a in points
    ]


@pytest.mark.parametrize(
    ("history", "word"),
    [
        # a masked language model on glosses: random word vectors have a high rank, and it falls as the probe rises
        (text((0, 51, 0.24), (156, 13, 0.30), (312, 14, 0.33), (468, 17, 0.36), (624, 20, 0.38)), "healthy"),
        (text((0, 51, 0.24), (156, 40, 0.30), (312, 18, 0.30), (468, 18, 0.30)), "degrading"),  # it lost what it learned
        (text((0, 51, 0.24), (156, 40, 0.30), (312, 18, 0.33), (468, 18, 0.36)), "healthy"),  # while the probe rises
        (text((0, 51, 0.24), (156, 20, 0.30), (312, 20, 0.30), (468, 20, 0.30)), "healthy"),
        (text((0, 51, 0.24), (156, 40, 0.40), (312, 40, 0.30), (468, 40, 0.30)), "degrading"),  # by the probe
    ],
)  # fmt: skip
def test_the_rank_of_the_untrained_network_is_no_best_and_a_rising_probe_is_no_degrading(history, word):
    assert verdict(history) == word


def test_a_short_run_through_a_narrow_cone_has_not_collapsed():
    """CLIP's first eight steps; 625 steps later its rank was 40. From step 50 on it would be a collapse."""
    ranks = (3.9, 2.2, 1.6, 1.5, 1.5)
    early = [check(RELU) | {"embedding_std": 0.4, "embedding_rank": r, "step": 2 * i} for i, r in enumerate(ranks)]
    assert [verdict(early[:n]) for n in range(1, 6)] == ["healthy"] * 5
    late = [h | {"step": 100 * h["step"]} for h in early]
    assert verdict(late) == "collapsed"


def test_a_spread_that_falls_in_the_first_steps_is_no_collapse():
    """DINO's first eight steps: 0.34, then 0.037. From step 10 on it would be a collapse."""
    early = [
        check(RELU) | {"embedding_std": s, "embedding_rank": 5, "step": i}
        for i, s in ((0, 0.34), (2, 0.06), (8, 0.037))
    ]
    assert [verdict(early[:n]) for n in (1, 2, 3)] == ["healthy"] * 3
    assert verdict([*early, early[-1] | {"step": 10}]) == "collapsed"


def test_each_of_several_encoders_and_embeddings_counts():
    good, point = embedding_measures(ISOTROPIC), embedding_measures(np.ones((1000, 64)))
    both = lambda z: check(RELU) | named(good, "image") | named(z, "text")  # noqa: E731
    assert verdict([both(good), both(good)]) == "healthy"
    assert verdict([both(good), both(point)]) == "collapsed"
    second = lambda x: check(RELU) | named(check(x), "text")  # noqa: E731
    assert verdict([second(ISOTROPIC), second(RELU)]) == "healthy"
    assert verdict([second(ISOTROPIC), second(10 + 1e-3 * ISOTROPIC)]) == "collapsed"


def test_without_labels_the_ranks_alone_decide():
    assert verdict([measures(ISOTROPIC)] * 3) == "healthy"


def test_the_ridge_probe_finds_what_is_linear_and_nothing_in_noise():
    y = np.arange(400) % 4
    x = (2 * np.eye(4, 32)[y] + rng.standard_normal((400, 32))).astype(np.float32)
    fit, held = standardise(x[:200], x[200:])
    assert 0.7 < ridge_accuracy(fit, y[:200], held, y[200:]) < 0.9
    noise, held = standardise(rng.standard_normal((200, 500)), rng.standard_normal((200, 500)))
    assert ridge_accuracy(noise, y[:200], held, y[200:]) < 0.4


def test_the_ridge_probe_chooses_its_penalty_by_leaving_one_out():
    y = np.arange(60) % 3
    x = standardise(0.8 * np.eye(3, 20)[y] + rng.standard_normal((60, 20)))[0]
    targets = np.eye(3)[y]

    def error(strength):
        total = 0.0
        for i in range(60):
            keep = np.arange(60) != i
            a, t = x[keep], targets[keep]
            mean, share = a.mean(0), t.mean(0)
            gram = (a - mean).T @ (a - mean) + strength * np.linalg.eigvalsh(x @ x.T).mean() * np.eye(20)
            total += np.sum(
                (targets[i] - share - (x[i] - mean) @ np.linalg.solve(gram, (a - mean).T @ (t - share))) ** 2
            )
        return total

    strengths = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    best = min(strengths, key=error)
    held, labels = (
        standardise(x, rng.standard_normal((500, 20)) + 0.8 * np.eye(3, 20)[np.arange(500) % 3])[1],
        np.arange(500) % 3,
    )
    assert ridge_accuracy(x, y, held, labels, strengths) == ridge_accuracy(x, y, held, labels, (best,))


@pytest.mark.parametrize(
    ("embeddings", "word"),
    [
        (ISOTROPIC, "healthy"),
        (ISOTROPIC[:, :12] @ rng.standard_normal((12, 64)), "healthy"),
        (ISOTROPIC[:, :3] @ rng.standard_normal((3, 64)), "healthy"),  # clusters leave few directions
        (0.3 * ISOTROPIC, "healthy"),
        (0.15 * ISOTROPIC, "collapsed"),  # VICReg without variance: the scale is what collapses
        (0.1 * ISOTROPIC + 8 * ISOTROPIC[:, :1], "collapsed"),  # Barlow Twins without its off-diagonal term
        (1e-2 * ISOTROPIC + 1, "collapsed"),
        (np.ones((1000, 64)), "collapsed"),
        (np.full((1000, 64), np.nan), "collapsed"),
    ],
    ids=["same", "few directions", "three", "smaller", "small", "a line", "around a point", "a point", "not finite"],
)
def test_embeddings_that_collapse_are_told_although_the_encoder_is_as_it_was(embeddings, word):
    first, after = (check(RELU) | embedding_measures(z) for z in (ISOTROPIC, embeddings))
    assert verdict([check(RELU), first, after, after]) == word


def test_a_rank_that_dips_and_comes_back_is_no_collapse():
    proper, low = (check(RELU) | embedding_measures(z) for z in (ISOTROPIC, ISOTROPIC[:, :1] @ np.ones((1, 64))))
    assert [verdict([proper, low, proper, low][:n]) for n in (2, 3, 4)] == ["healthy"] * 3
    assert verdict([proper, low, low]) == "collapsed"


def test_embeddings_that_start_along_a_line_and_leave_it_are_healthy():
    """Logits over a network whose LayerScale is small: DINO and DINOv2 before their first steps."""
    line = ISOTROPIC[:, :1] @ np.ones((1, 64))
    history = [check(RELU) | embedding_measures(z) for z in (line, line + 0.1 * ISOTROPIC, line + 0.2 * ISOTROPIC)]
    assert history[2]["embedding_rank"] < 1.7
    assert verdict(history) == "healthy"


def test_barlow_twins_in_a_proper_run_is_healthy():
    """`barlow_twins_conv_fashion:full`, seed 1: a rank by singular values (160, 35, 34) had called it collapsed."""
    kept = [(0.82, 34.6), (0.77, 9.0), (0.80, 10.7)]
    history = [check(RELU) | {"embedding_std": std, "embedding_rank": rank} for std, rank in kept]
    assert verdict(history) == "healthy"


def test_features_that_start_alike_have_not_collapsed_unless_they_stay_so():
    alike, wider = 10 + 1e-3 * ISOTROPIC, 10 + 0.1 * ISOTROPIC
    assert [verdict([check(alike)]), verdict([check(alike), check(wider)])] == ["healthy"] * 2
    assert verdict([check(alike), check(alike)]) == "collapsed"
    assert verdict([check(np.ones((100, 16)))]) == "collapsed"


def test_directions_are_counted_by_energy():
    assert directions(np.eye(8)) == pytest.approx(8)
    assert directions(np.ones((10, 4))) == pytest.approx(1)
    assert directions(np.zeros((10, 4))) == 1
    p = np.array([0.9, 0.1])
    assert directions(np.diag(np.sqrt(p))) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_embedding_measures_have_known_values():
    found = embedding_measures(ISOTROPIC)
    assert found["embedding_std"] == pytest.approx(8, rel=0.01)  # sqrt(64)
    assert found["embedding_rank"] == pytest.approx(62, abs=0.5)


def test_many_classes_are_told_apart_as_by_one_hot_rows_but_without_them(monkeypatch):
    """Also with classes that no row has, and with a few at a time; of 21,841 classes one-hot rows take 3.8 GB."""
    rng = np.random.default_rng(0)
    for classes, rows in ((10, 60), (90, 100)):
        x, y, held = rng.normal(size=(rows, 24)), rng.integers(0, classes, rows), rng.normal(size=(50, 24))
        wanted = ridge(x, np.eye(classes)[y], held)[0].argmax(1)
        for floats in (2**22, 3 * rows):
            monkeypatch.setattr("ssl_jax.evaluate.ridge._FLOATS", floats)
            np.testing.assert_array_equal(ridge_classes(x, y, held), wanted)
    monkeypatch.undo()
    tracemalloc.start()
    ridge_accuracy(x, 21_840 - np.arange(100), held, np.arange(50))
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
