"""Batches: their order is a pure function of (seed, cursor), and no record is lost or shown twice."""

import itertools
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.order import order
from ssl_jax.data.pipeline import batches, once
from ssl_jax.data.sources import Arrays, ImageFolder
from ssl_jax.errors import UserError


class OneByOne:
    """A source without `batch`: records [i, 10 i], read one at a time."""

    def __init__(self, total=50):
        self.total = total

    def __len__(self):
        return self.total

    def __getitem__(self, i):
        return {"x": np.array([i, 10 * i], np.int16), "label": np.int32(i % 3)}

    def fingerprint(self):
        return f"{self.total}"


def columns(total=50):
    i = np.arange(total)
    return Arrays({"x": np.stack([i, 10 * i], 1).astype(np.int16), "label": i % 3})


def take(source, count, **options):
    iterator = batches(source, **{"seed": 5, "batch_size": 8} | options)
    taken = list(itertools.islice(iterator, count))
    iterator.close()
    return taken


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].dtype == b[name].dtype


# Order


@pytest.mark.parametrize("total", [1, 2, 3, 7, 64, 65, 1000, 4099])
def test_every_epoch_is_a_permutation(total):
    ids, epochs = order(3, np.arange(3 * total), total)
    assert epochs.tolist() == np.repeat([0, 1, 2], total).tolist()
    for epoch in range(3):
        assert sorted(ids[epochs == epoch]) == list(range(total))


def test_the_order_is_a_pure_function_of_seed_and_cursor():
    cursor = np.array([9_000, 3, 1_000_000_007, 3])
    ids, epochs = order(1, cursor, 1000)
    for i, c in enumerate(cursor):
        alone = order(1, np.array([c]), 1000)
        assert (alone[0][0], alone[1][0]) == (ids[i], epochs[i])
    assert ids[1] == ids[3]


def test_the_order_is_fixed_for_ever():
    """Checkpoints hold only a cursor: another permutation would show other examples after a resume."""
    assert order(0, np.arange(12), 10)[0].tolist() == [0, 2, 6, 5, 9, 8, 3, 1, 7, 4, 3, 5]
    assert order(7, 10**12 + np.arange(6), 1_281_167)[0].tolist() == [1059820, 32738, 42703, 280770, 82438, 190464]


def test_epochs_and_seeds_have_different_orders():
    orders = {tuple(order(s, e * 40 + np.arange(40), 40)[0]) for s in range(10) for e in range(10)}
    assert len(orders) == 100


def test_all_permutations_are_about_equally_frequent():
    """Chi-square over the 24 orders of 4 records, 23 degrees of freedom: 49.7 is exceeded once in a thousand times."""
    seen = Counter(tuple(order(seed, np.arange(4), 4)[0]) for seed in range(4800))
    chi_square = sum((n - 200) ** 2 / 200 for n in seen.values())
    assert len(seen) == 24
    assert chi_square < 49.7


def test_neighbours_in_the_source_are_not_neighbours_in_the_order():
    ids = order(0, np.arange(20_000), 20_000)[0]
    assert abs(np.corrcoef(ids[:-1], ids[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(np.arange(20_000), ids)[0, 1]) < 0.03
    halves = np.bincount(ids[:10_000] // 2000, minlength=10)
    assert np.abs(halves - 1000).max() < 120


# Batches


@pytest.mark.parametrize("source", [OneByOne(), columns()], ids=["records", "columns"])
def test_a_batch_holds_the_fields_of_its_records_with_id_and_epoch(source):
    for step, batch in enumerate(take(source, 8)):
        ids, epochs = order(5, step * 8 + np.arange(8), 50)
        assert set(batch) == {"x", "label", "_id", "_epoch"}
        np.testing.assert_array_equal(batch["_id"], ids)
        np.testing.assert_array_equal(batch["_epoch"], epochs)
        np.testing.assert_array_equal(batch["x"], np.stack([ids, 10 * ids], 1))
        assert [batch[k].dtype for k in ("x", "label", "_id", "_epoch")] == [np.int16, np.int32, np.int32, np.int32]


def test_columns_and_single_records_give_the_same_batches():
    assert_same(take(OneByOne(), 10), take(columns(), 10))


def test_resuming_at_any_step_equals_going_straight_on():
    straight = take(OneByOne(), 20)
    for step in (1, 6, 19):
        assert_same(take(OneByOne(), 20 - step, start_step=step), straight[step:])


def test_resuming_far_into_training_is_instant_and_exact():
    (batch,) = take(columns(), 1, start_step=10**9)
    ids, epochs = order(5, 8 * 10**9 + np.arange(8), 50)
    assert batch["_id"].tolist() == ids.tolist()
    assert batch["_epoch"].tolist() == epochs.tolist() == [8 * 10**9 // 50] * 8


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_read_the_same_global_batches_in_the_same_rows(processes):
    whole = take(OneByOne(), 15)
    parts = [take(OneByOne(), 15, process_index=p, process_count=processes) for p in range(processes)]
    for step, batch in enumerate(whole):
        for name, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[step][name] for part in parts]), value)


def test_resume_on_another_number_of_processes_continues_the_same_order():
    whole = take(OneByOne(), 10)
    parts = [take(OneByOne(), 5, start_step=5, process_index=p, process_count=4) for p in range(4)]
    together = [{k: np.concatenate([part[s][k] for part in parts]) for k in whole[0]} for s in range(5)]
    assert_same(together, whole[5:])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads):
    assert_same(take(OneByOne(), 20, threads=threads, prefetch=3), take(OneByOne(), 20))


def test_every_record_comes_exactly_once_an_epoch():
    taken = take(OneByOne(50), 25)  # 200 examples: four epochs, none of them a whole number of batches
    ids, epochs = (np.concatenate([batch[k] for batch in taken]) for k in ("_id", "_epoch"))
    for epoch in range(4):
        assert sorted(ids[epochs == epoch]) == list(range(50))


def test_a_source_smaller_than_a_batch_is_repeated_within_it():
    (batch,) = take(OneByOne(3), 1)
    assert batch["_epoch"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert sorted(batch["_id"][:3]) == sorted(batch["_id"][3:6]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 9, "process_count": 2}, "batch_size=9 is not a multiple of 2 processes; use e.g. 8"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"start_step": -1}, "start_step=-1"),
        ({"process_index": 2, "process_count": 2}, "process 2 of 2"),
        ({"source": Arrays({"x": np.zeros((1, 1))}), "batch_size": 1, "process_index": -1}, "process -1 of 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_the_first_batch(options, message):
    with pytest.raises(UserError, match=message):
        batches(**{"source": OneByOne(), "seed": 0, "batch_size": 8} | options)


def test_records_of_different_shapes_are_refused_with_both_shapes():
    class Odd(OneByOne):
        def __getitem__(self, i):
            return {"image": np.zeros((28 + i % 2, 28, 1), np.uint8)}

    for threads in (0, 2):
        with pytest.raises(UserError, match=r"do not fit into one batch.*\(2[89], 28, 1\).*\(2[89], 28, 1\)"):
            take(Odd(), 1, threads=threads)


# Bad records


@pytest.fixture
def folder(tmp_path):
    """40 pictures of which four are bad: cut short, one pixel high, 16-bit, not an image."""
    for i in range(36):
        Image.fromarray(np.full((16, 16), i, np.uint8)).save(tmp_path / f"{i:02}.png")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:1500])
    Image.fromarray(np.zeros((1, 64), np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("not an image")
    return tmp_path


@pytest.mark.parametrize("threads", [0, 2])
def test_unreadable_images_are_skipped_counted_and_listed(folder, tmp_path_factory, threads):
    listed = tmp_path_factory.mktemp("run") / "bad_records.jsonl"
    source, bad = ImageFolder(folder, size=8, channels=1), BadRecords(0.1, listed)
    taken = take(source, 5, threads=threads, bad=bad)
    for batch in taken:
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["_id"])
    ids = np.concatenate([batch["_id"] for batch in taken])
    assert set(ids) == set(range(36))
    assert len(ids) == 40
    assert bad.count == 4
    assert [entry.name for entry in bad.entries] == ["cut.jpg", "deep.png", "flat.png", "text.png"]
    assert len(listed.read_text().splitlines()) == 4
    assert_same(take(source, 5, bad=BadRecords(0.1)), taken)


@pytest.mark.parametrize("threads", [0, 2])
def test_the_run_stops_above_the_fraction(folder, threads):
    source = ImageFolder(folder, size=8)
    with pytest.raises(UserError, match=r"[34] of 40 records cannot be read.*max_bad_fraction=0.06.*\.(png|jpg)"):
        take(source, 5, threads=threads, bad=BadRecords(0.06))
    # Readers that were already on their way may count another bad record before the first one stops the run.
    with pytest.raises(UserError, match=f"{'[1-4]' if threads else 1} of 40 records cannot be read"):
        take(source, 5, threads=threads)


# Evaluation


@pytest.mark.parametrize(("total", "last"), [(24, 8), (20, 4), (3, 3)])
@pytest.mark.parametrize("make", [OneByOne, columns])
def test_once_gives_every_record_in_order_in_batches_of_one_size(make, total, last):
    taken = list(once(make(total), 8))
    assert all(len(batch["x"]) == len(valid) == 8 for batch, valid in taken)
    assert np.concatenate([batch["_id"][valid] for batch, valid in taken]).tolist() == list(range(total))
    assert taken[-1][1].sum() == last
    assert taken[-1][0]["x"][-1].tolist() == [total - 1, 10 * (total - 1)]


def test_once_marks_what_stands_for_a_bad_record_as_not_valid(folder):
    source, bad = ImageFolder(folder, size=8), BadRecords(0.5)
    taken = list(once(source, 16, bad))
    assert np.concatenate([batch["_id"][valid] for batch, valid in taken]).tolist() == list(range(36))
    assert bad.count == 4
    with pytest.raises(UserError, match=r"cut.jpg"):
        list(once(source, 16))


class Gathering(OneByOne):
    """Gathers records at once, and cannot where record 3 is among them."""

    def __getitem__(self, i):
        if i == 3:
            raise ValueError("damaged")
        return super().__getitem__(i)

    def batch(self, ids):
        records = [self[int(i)] for i in ids]
        return {name: np.stack([r[name] for r in records]) for name in records[0]}


def test_a_record_that_spoils_a_gathered_batch_is_replaced_alone():
    bad = BadRecords(0.1)
    (batch,) = [batch for batch, _ in once(Gathering(16), 16, bad)]
    assert [i for i, used in enumerate(batch["_id"]) if used != i] == [3]
    assert batch["x"][:, 0].tolist() == batch["_id"].tolist()
    assert [(b.index, b.reason) for b in bad.entries] == [(3, "ValueError: damaged")]


class Mixed(OneByOne):
    def __getitem__(self, i):
        return {"x": np.zeros(2, np.uint8 if i % 2 else np.float32)}


def test_records_of_different_types_are_refused_since_one_would_be_read_as_the_other():
    with pytest.raises(UserError, match=r"records 0 and 1 do not fit .*float32.*uint8.*one shape and type"):
        next(once(Mixed(4), 4))
