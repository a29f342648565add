import jax
import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.evaluate import neighbours as module
from ssl_jax.evaluate.neighbours import neighbours

rng = np.random.default_rng(0)
BANK, QUERIES = rng.standard_normal((203, 7)), rng.standard_normal((101, 7))


def by_hand(bank, queries, k, own=None):
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    similarity = unit(queries) @ unit(bank).T
    if own is not None:
        similarity[np.arange(len(queries)), own] = -np.inf
    index = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(similarity, index, 1), index


@pytest.mark.parametrize(("block", "at_once", "parts"), [(8192, 1024, 16), (50, 3, 2), (7, 1024, 16)])
def test_blocks_parts_and_devices_change_nothing(monkeypatch, block, at_once, parts):
    """Eight devices; sizes that divide nothing, and blocks smaller than k."""
    assert len(jax.local_devices()) == 8
    for name, value in (("_BLOCK", block), ("_QUERIES", at_once), ("_PARTS", parts), ("_FEWEST", 20)):
        monkeypatch.setattr(module, name, value)
    for own in (None, rng.permutation(203)[:101]):
        found, wanted = neighbours(BANK, QUERIES, 9, own), by_hand(BANK, QUERIES, 9, own)
        np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
        np.testing.assert_array_equal(found[1], wanted[1])


def test_of_equally_near_rows_the_first_comes_first(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 4)
    found = neighbours(np.repeat(np.eye(3), 4, axis=0)[::-1], np.eye(3)[:1], 3)[1]
    assert found.tolist() == [[8, 9, 10]]


def test_all_others_are_the_most_that_there_are():
    assert sorted(neighbours(BANK[:5], BANK[:5], 4, np.arange(5))[1][2]) == [0, 1, 3, 4]
    with pytest.raises(UserError, match="k=5 neighbours of 4 labelled examples"):
        neighbours(BANK[:5], BANK[:5], 5, np.arange(5))
