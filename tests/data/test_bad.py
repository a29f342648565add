"""Records that cannot be read are replaced, counted and listed, and too many of them stop the run."""

import json
import threading

import numpy as np
import pytest

from ssl_jax.data.bad import BadRecord, BadRecords, substitute
from ssl_jax.errors import UserError

BROKEN = ValueError("broken")


class Faulty:
    """`total` records that are their own number, of which `bad` cannot be read."""

    def __init__(self, total, bad, error=BROKEN):
        self.total, self.bad, self.error = total, bad, error

    def __len__(self):
        return self.total

    def __getitem__(self, i):
        if i in self.bad:
            raise self.error
        return {"x": np.asarray(i)}

    def name_of(self, i):
        return f"dir/{i}.png"


def test_a_bad_record_is_replaced_by_one_that_depends_on_its_number_alone():
    source = Faulty(1000, {7, 8})
    readers = [BadRecords(0.5), BadRecords(0.5)]
    assert readers[0].read(source, 3)[0] == 3
    readers[1].read(source, 8)
    used = {reader.read(source, 7)[0] for reader in readers}
    assert len(used) == 1
    index = used.pop()
    assert index not in source.bad
    assert readers[0].read(source, 7)[1] == {"x": index}


def test_a_substitute_that_is_bad_too_is_replaced_again():
    first = substitute(7, 1, 1000)
    used, record = BadRecords(0.5).read(Faulty(1000, {7, first}), 7)
    assert used == record["x"] == substitute(7, 2, 1000)


def test_each_bad_record_is_counted_and_listed_once(tmp_path):
    path = tmp_path / "bad_records.jsonl"
    bad = BadRecords(0.5, path)
    for index in (8, 7, 8, 8, 7, 3):
        bad.read(Faulty(1000, {7, 8}), index)
    assert bad.count == 2
    assert (bad.failures, bad.reads) == (5, 11)
    assert bad.entries == [BadRecord(i, f"dir/{i}.png", "ValueError: broken") for i in (7, 8)]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"index": i, "name": f"dir/{i}.png", "reason": "ValueError: broken"} for i in (8, 7)]


def test_a_resumed_run_does_not_list_a_record_again(tmp_path):
    path = tmp_path / "bad_records.jsonl"
    path.write_text('{"index": 7, "name": "dir/7.png", "reason": "x"}\n{"index": 8, "na')
    bad = BadRecords(0.5, path)
    bad.read(Faulty(1000, {7, 9}), 7)
    bad.read(Faulty(1000, {7, 9}), 9)
    assert bad.count == 2
    assert path.read_text().count('"index": 7') == 1
    assert json.loads(path.read_text().splitlines()[-1])["index"] == 9


def test_a_file_that_is_not_a_list_of_bad_records_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text("shopping list\n")
    with pytest.raises(UserError, match="not a list of bad records"):
        BadRecords(0.5, tmp_path / "x.jsonl")


def test_one_bad_record_among_the_first_three_does_not_stop():
    bad = BadRecords(0.001)
    source = Faulty(5000, {0, 4000})
    for index in (0, 1, 2):
        bad.read(source, index)
    assert bad.count == 1


def test_more_than_the_fraction_of_all_records_stops_with_count_fraction_and_names():
    bad = BadRecords(0.1)
    source = Faulty(20, {3, 5, 6})
    with pytest.raises(UserError, match=r"3 of 20 records cannot be read.*fraction=0.1.*dir/3.png \(Value"):
        [bad.read(source, index) for index in (3, 5, 6)]
    assert bad.count == 3


def test_a_source_that_went_away_is_noticed_within_a_few_reads():
    bad = BadRecords(0.001)
    with pytest.raises(UserError, match="OSError: stale handle"):
        bad.read(Faulty(10**9, range(10**9), OSError("stale handle")), 5)
    assert bad.reads < 10


@pytest.mark.parametrize("fraction", [0.001, 0.05])
def test_a_source_exactly_at_the_limit_is_never_stopped(fraction):
    source = Faulty(20_000, range(int(20_000 * fraction)))
    bad = BadRecords(fraction)
    for index in np.random.default_rng(0).integers(0, 20_000, 20_000):
        bad.read(source, int(index))
    assert 0 < bad.count <= 20_000 * fraction


def test_a_fraction_of_zero_stops_at_the_first_and_of_one_only_when_nothing_is_left():
    with pytest.raises(UserError, match="1 of 1000 records"):
        BadRecords(0.0).read(Faulty(1000, {7}), 7)
    assert BadRecords(1.0).read(Faulty(20, range(1, 20)), 7)[0] == 0
    with pytest.raises(UserError, match="64 others instead of it cannot be read"):
        BadRecords(1.0).read(Faulty(4, range(4)), 1)


def test_errors_for_the_user_and_lack_of_memory_are_not_bad_records():
    for error in (UserError("label 99"), MemoryError()):
        bad = BadRecords(1.0)
        with pytest.raises(type(error)):
            bad.read(Faulty(10, {1}, error), 1)
        assert bad.count == 0


def test_a_fraction_outside_0_to_1_is_refused():
    with pytest.raises(UserError, match="max_bad_fraction=2"):
        BadRecords(2)


def test_threads_lose_no_count(tmp_path):
    bad = BadRecords(1.0, tmp_path / "bad.jsonl")
    source = Faulty(400, range(0, 400, 2))
    threads = [threading.Thread(target=lambda: [bad.read(source, i) for i in range(400)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad.count == 200
    assert bad.reads - bad.failures == 4 * 400
    lines = (tmp_path / "bad.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["index"] for line in lines) == list(range(0, 400, 2))


def test_one_bad_record_that_is_read_a_hundred_times_says_no_more_than_once():
    bad, source = BadRecords(0.05), Faulty(200, {7})
    for _ in range(100):
        assert bad.read(source, 7)[0] != 7
    assert (bad.count, bad.failures) == (1, 100)


def test_of_a_random_part_the_fraction_is_that_of_the_whole():
    """Two bad records of a sample of 100 are no more than the 1 in 100 that is allowed of 10,000."""
    part = Faulty(100, {7, 8})
    bad = BadRecords(0.01)
    with pytest.raises(UserError, match="2 of 100"):
        [bad.read(part, i) for i in (7, 8)]
    whole = BadRecords(0.01, total=10_000)
    assert [whole.read(part, i)[0] in part.bad for i in (7, 8)] == [False, False]
