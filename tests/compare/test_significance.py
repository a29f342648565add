"""Differences and their p values equal what is known of them; what cannot be known is not claimed."""

import math

import numpy as np
import pytest
from scipy import stats

from ssl_jax.compare.significance import holm, mcnemar, over_records, over_seeds, resampled_means

A, B = (0.80, 0.82, 0.81, 0.79), (0.83, 0.86, 0.82, 0.84)


@pytest.mark.parametrize(
    ("paired", "oracle"), [(True, stats.ttest_rel(B, A)), (False, stats.ttest_ind(B, A, equal_var=False))]
)
def test_over_seeds_it_is_the_t_test(paired, oracle):
    found = over_seeds(A, B, paired)
    assert found.value == pytest.approx(0.0325)
    assert found.p == pytest.approx(oracle.pvalue)
    assert found.low < found.value < found.high


def test_one_seed_says_nothing_and_equal_seeds_have_no_p():
    assert over_seeds(A, (0.9,), paired=False) is None
    assert math.isnan(over_seeds((0.5, 0.5), (0.6, 0.6), paired=False).p)


def test_mcnemar_counts_what_differs_only():
    a, b = np.zeros(100), np.r_[np.ones(9), np.zeros(91)]
    assert over_records(a, b).p == pytest.approx(2 / 2**9)
    assert mcnemar(np.zeros(5)) == 1.0
    assert mcnemar(np.array([1, -1, 0, 1, -1])) == 1.0


def test_the_interval_of_a_difference_is_that_of_its_pairs():
    rng = np.random.default_rng(0)
    easy = rng.random(2000)
    a, b = easy > 0.3, (easy > 0.3) | (rng.random(2000) < 0.02)  # b is right wherever a is
    found = over_records(a, b)
    error = np.std(b.astype(float) - a) / math.sqrt(2000)
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=3e-4)
    assert found.low > 0


def test_values_that_are_no_hits_have_the_p_of_the_bootstrap():
    a = np.random.default_rng(0).random(100)
    same, better = over_records(a, a[::-1].copy()), over_records(a, a + 0.1 * np.random.default_rng(1).random(100))
    assert (same.test, better.test) == ("paired bootstrap",) * 2
    assert same.p > 0.5
    assert better.p < 1e-3


def test_resampled_means_have_the_deviation_of_a_mean():
    values = np.random.default_rng(0).normal(size=300)
    assert resampled_means(values).std() == pytest.approx(values.std() / math.sqrt(300), rel=0.05)


def test_holm_corrects_for_how_many_there_are():
    assert holm([0.01, 0.04, math.nan, 0.03])[0] == pytest.approx(0.03)
    assert holm([0.01, 0.04, 0.03])[1:] == pytest.approx([0.06, 0.06])  # never less than that of a smaller one
    assert math.isnan(holm([math.nan])[0])
