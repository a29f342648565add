"""Mixtures: exact shares, epochs of their own, and an order that depends on seed and cursor alone."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.data.cropped import Cropped
from ssl_jax.data.order import order, order_of
from ssl_jax.data.pipeline import batches
from ssl_jax.data.sources import Arrays, Mix
from ssl_jax.data.sources.mix import PERIOD, counts_of, turn
from ssl_jax.errors import UserError


def numbers(first, count, **fields):
    return Arrays({"x": np.arange(first, first + count, dtype=np.int32), **fields})


class OneByOne:
    """A source without `batch` and names."""

    def __len__(self):
        return 30

    def __getitem__(self, i):
        return {"x": np.int32(900 + i)}

    def fingerprint(self):
        return "one by one"


MIX = Mix((numbers(0, 100), numbers(100, 7), OneByOne()), (5, 3, 2), ("a", "b", "c"))


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(1e-3, 1), min_size=2, max_size=6), st.integers(0, 10**12))
def test_any_window_of_ten_thousand_has_the_exact_share_of_each_source(weights, start):
    counts = counts_of(tuple(weights))
    shares = np.array(weights) / sum(weights)
    assert sum(counts) == PERIOD
    assert np.abs(np.array(counts) - shares * PERIOD).max() < 1
    parts, _ = turn(counts, start + np.arange(PERIOD + 500))
    drawn = np.cumsum(parts[:, None] == np.arange(len(counts)), axis=0)
    assert (drawn[PERIOD:] - drawn[:-PERIOD] == counts).all()


def test_sources_alternate_as_evenly_as_numbers_allow():
    parts, _ = turn(counts_of((3.0, 1.0)), np.arange(12))
    assert np.bincount(parts[:4]).tolist() == np.bincount(parts[4:8]).tolist() == [3, 1]
    parts, _ = turn(counts_of((0.5, 0.3, 0.2)), np.arange(PERIOD))
    before = np.cumsum(parts[:, None] == np.arange(3), axis=0)
    assert np.abs(before - np.arange(1, PERIOD + 1)[:, None] * [0.5, 0.3, 0.2]).max() < 1


def test_each_source_shows_all_of_its_records_before_any_again_in_the_order_of_its_own_epochs():
    ids, epochs = MIX.example_order(3, np.arange(2000))
    for first, total in ((0, 100), (100, 7), (107, 30)):
        own = (ids >= first) & (ids < first + total)
        shown, when = ids[own] - first, epochs[own]
        assert when.tolist() == [k // total for k in range(len(when))]
        whole = len(shown) // total * total
        assert (np.sort(shown[:whole].reshape(-1, total), axis=1) == np.arange(total)).all()
    own = ids[ids < 100]
    assert own[:100].tolist() != own[100:200].tolist()
    assert own[:100].tolist() != order(3, np.arange(100), 100)[0].tolist()


def test_the_order_is_fixed_for_ever():
    ids, epochs = MIX.example_order(0, np.arange(10))
    assert ids.tolist() == [93, 101, 128, 6, 7, 106, 60, 121, 104, 52]
    assert epochs.tolist() == [0] * 10
    ids, epochs = MIX.example_order(1, 10**12 + np.arange(4))
    assert (ids.tolist(), epochs.tolist()) == (
        [54, 104, 120, 55],
        [5_000_000_000, 42_857_142_857, 6_666_666_666, 5_000_000_000],
    )


def test_batches_resume_anywhere_and_are_shared_between_processes():
    def some(start=0, count=6, **options):
        stream = batches(MIX, seed=5, batch_size=8, start_step=start, **options)
        return [next(stream) for _ in range(count)]

    whole = some()
    assert [b["_id"].tolist() for b in some(3, 3)] == [b["_id"].tolist() for b in whole[3:]]
    halves = zip(some(process_count=2), some(process_count=2, process_index=1), strict=True)
    for batch, pair in zip(whole, halves, strict=True):
        for name, rows in batch.items():
            assert np.concatenate([half[name] for half in pair]).tolist() == rows.tolist()
        assert [int(MIX[i]["x"]) for i in batch["_id"]] == batch["x"].tolist()
        assert [MIX.place(i)[0] for i in batch["_id"]] == batch["_source"].tolist()


def test_gathered_at_once_records_are_those_read_one_by_one():
    mix = Mix((numbers(0, 5, y=np.arange(10.0).reshape(5, 2)), numbers(9, 3, y=np.ones((3, 2)))), (1, 1))
    mix = pickle.loads(pickle.dumps(mix))  # as it goes to worker processes
    ids = np.array([7, 0, 4, 5, 0])
    for name, rows in mix.batch(ids).items():
        assert rows.tolist() == [mix[int(i)][name].tolist() for i in ids]
        assert rows.dtype == mix[0][name].dtype
    assert mix.values("x").tolist() == [0, 1, 2, 3, 4, 9, 10, 11]
    assert mix.values("_source").tolist() == [0] * 5 + [1] * 3
    assert mix.values("z") is None
    assert not hasattr(MIX, "batch")


def test_labels_are_kept_only_where_they_mean_the_same():
    def labelled(classes):
        return Arrays({"x": np.arange(2, dtype=np.int32), "label": np.arange(2)}, classes=classes)

    same = Mix((labelled("ab"), labelled("ab")), (1, 1))
    assert (same.classes, same[3]["label"], same.values("label").tolist()) == (("a", "b"), 1, [0, 1, 0, 1])
    for other in (labelled("bc"), labelled(()), numbers(0, 2)):
        mixed = Mix((labelled("ab"), other), (1, 1))
        assert (mixed.classes, mixed.values("label")) == ((), None)
        assert all("label" not in mixed[i] for i in range(4))


def test_records_have_names_and_the_fingerprint_says_what_is_mixed_and_how():
    assert [MIX.name_of(i) for i in (3, 101, 107)] == ["a: 3", "b: 1", "c: 0"]
    assert MIX.notes[0] == "a has 50 % of the examples: an epoch of its 100 records in every 200"
    a, b = numbers(0, 4), numbers(9, 4)
    prints = [
        Mix(s, w).fingerprint() for s, w in (((a, b), (1, 1)), ((b, a), (1, 1)), ((a, b), (1, 2)), ((a, a), (1, 1)))
    ]
    assert len(set(prints)) == 4
    assert Mix((a, b), (0.25, 0.75)).fingerprint() == Mix((a, b), (1, 3)).fingerprint()


@pytest.mark.parametrize(
    ("sources", "weights", "names", "told"),
    [
        ((numbers(0, 2),), (1,), (), "two sources or more"),
        ((numbers(0, 2), "folder:/x"), (1, 1), (), "name each with `target`"),
        ((numbers(0, 2), numbers(0, 2)), (1,), (), "for 2 sources: give a number above 0"),
        ((numbers(0, 2), numbers(0, 2)), (1, -1), (), "give a number above 0"),
        ((numbers(0, 2), numbers(0, 2)), (1, float("nan")), (), "give a number above 0"),
        ((numbers(0, 2), numbers(0, 2)), (1, float("inf")), (), "give a number above 0"),
        ((numbers(0, 2), numbers(0, 2)), (1, 1), ("a", "a"), "give each one of its own"),
        ((numbers(0, 2), numbers(0, 2)), (1, 1e-5), (), "the weight 1e-05 is less than one example in 10,000"),
    ],
)
def test_mixtures_that_are_none_are_refused(sources, weights, names, told):
    with pytest.raises(UserError, match=told):
        Mix(sources, weights, names)


def test_sources_whose_records_do_not_fit_together_are_named():
    with pytest.raises(UserError, match=r"the sources 'flat' and 'wide' of a mixture do not fit into one batch"):
        Mix((numbers(0, 2), Arrays({"x": np.ones((2, 3))})), (1, 1), ("flat", "wide"))


def test_pictures_that_are_cropped_on_the_host_are_drawn_by_the_mixture():
    found = order_of(Cropped(MIX, None, 0), 3, np.arange(50))
    for ours, wanted in zip(found, MIX.example_order(3, np.arange(50)), strict=True):
        assert ours.tolist() == wanted.tolist()
