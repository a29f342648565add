import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.probes.multilabel import Probe, auroc, precision

rng = np.random.default_rng(0)


def marked(count, marks=None):
    x = rng.standard_normal((count, 8)).astype(np.float32)
    clear = np.stack([x[:, 0] > 0, x[:, 1] > 1, np.zeros(count, bool)], 1)
    return Features(x, None, np.arange(count), (clear if marks is None else marks).astype(np.float32))


@pytest.fixture(scope="module")
def result():
    return Probe(rates=(0.1,), decays=(1e-4,)).run(Split(marked(400), marked(300), 0))


def test_each_label_is_read_off_and_one_that_no_record_has_is_left_out(result):
    assert result["map"] > 0.95
    assert result["auroc"] > 0.95
    assert result["each"][2] is None
    assert result["map"] == pytest.approx(np.mean(result["each"][:2]))
    assert result["interval"][0] <= result["map"] <= result["interval"][1]
    assert (result["n_labels"], result["n_train"], result["n_test"]) == (2, 400, 300)
    assert 0.2 < result["chance"] < 0.45


def test_measures_are_means_over_labels_of_scikit_learns():
    scores, marks = rng.standard_normal((50, 4)).round(1), rng.random((50, 4)) < 0.3
    assert np.mean(precision(scores, marks)) == pytest.approx(average_precision_score(marks, scores, average="macro"))
    assert auroc(scores, marks) == pytest.approx(roc_auc_score(marks, scores, average="macro"))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (marked(20)._replace(target=None), marked(20), "set evaluate.target"),
        (marked(20, 3 * np.ones((20, 1))), marked(20), "needs 0 or 1 for each label, and evaluate.target holds 3"),
        (marked(20), marked(20, np.ones((20, 3))), "every label is the same for all test records"),
    ],
)
def test_bad_targets_are_told(train, test, message):
    with pytest.raises(UserError, match=message):
        Probe(rates=(0.1,), decays=(0.0,), epochs=1).run(Split(train, test, 0))
