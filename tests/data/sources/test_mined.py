"""Negatives come from the file that was mined for these records, the nearest of others first."""

import numpy as np
import pytest

from ssl_jax.data.sources import Arrays, Mined
from ssl_jax.errors import UserError
from ssl_jax.evaluate.mining import nearest_others

PAIRS = Arrays({"query": np.arange(5)[:, None], "passage": 10 + np.arange(5)[:, None]})


def test_no_passage_of_the_same_record_is_mined_and_the_nearest_comes_first():
    rng = np.random.default_rng(0)
    queries, passages, same = rng.normal(size=(40, 4)), rng.normal(size=(40, 4)), np.arange(40) // 3
    found = nearest_others(queries, passages, same, 7)
    cosine = (queries @ passages.T) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(passages, axis=1)
    expected = np.argsort(-np.where(same[:, None] == same, -np.inf, cosine), axis=1)[:, :7]
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(UserError, match="--depth 38: a query has 37 passages of others"):
        nearest_others(queries, passages, same, 38)


@pytest.fixture
def negatives(tmp_path):
    def write(**changes):
        said = {
            "negatives": np.array([[1, 2], [0, 2], [3, 4], [4, 0], [3, 1]], np.int32),
            "source": PAIRS.fingerprint(),
        }
        np.savez(tmp_path / "negatives.npz", **{k: v for k, v in (said | changes).items() if v is not None})
        return str(tmp_path / "negatives.npz")

    return write


def test_records_have_the_passages_of_the_records_that_were_mined(negatives):
    source = Mined(PAIRS, negatives(), count=1, skip=1)
    assert source[3]["negative_1"].tolist() == [10]
    assert source.batch(np.array([0, 3]))["negative_1"].tolist() == [[12], [10]]
    assert source.example(PAIRS[0], count=2).keys() == {"query", "passage", "negative_1", "negative_2"}
    assert source.fingerprint() != Mined(PAIRS, negatives()).fingerprint()


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({"source": "another"}, {}, "made when the records were others"),
        ({"negatives": np.zeros((4, 2), np.int32)}, {}, "holds no negatives of 5 records"),
        ({"negatives": None}, {}, "holds no negatives of 5 records"),
        ({"negatives": np.full((5, 2), 5)}, {}, "names records beyond the 5"),
        ({}, {"count": 2, "skip": 1}, "count=2 negatives after skip=1 of the 2"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(negatives, changes, options, told):
    with pytest.raises(UserError, match=told):
        Mined(PAIRS, negatives(**changes), **options)
