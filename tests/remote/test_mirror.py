"""What goes to a store, in which order, and what a store that fails costs."""

import json
import shutil
import time

import pytest
from memory_store import flip, save

from ssl_jax.remote import mirror as mirrors
from ssl_jax.remote import steps
from ssl_jax.remote.mirror import Mirror
from ssl_jax.remote.store import StoreAway, _stays_below

STEP = {"meta", "state/a", "state/d/b", "manifest.json"}


def sent(store, step):
    return {name.removeprefix(f"checkpoints/{step}/") for name in store.sizes(f"checkpoints/{step}")}


def written(store):
    """The objects that were written, in order."""
    return [name for verb, name in store.client.asked if verb in ("put", "pipe", "pipe_file")]


def test_a_step_is_marked_after_all_its_files_and_the_metrics_that_reach_it(store, tmp_path):
    save(tmp_path, 8)
    assert Mirror(store, tmp_path, None).round()
    order = written(store)
    assert sent(store, 8) == STEP
    assert order.index("metrics.jsonl") < order.index("checkpoints/8/manifest.json")
    assert all(
        order.index(f"checkpoints/8/{name}") < order.index("checkpoints/8/manifest.json")
        for name in STEP - {"manifest.json"}
    )
    assert store.read("metrics.jsonl") == (tmp_path / "metrics.jsonl").read_bytes()


def test_what_is_not_part_of_a_run_stays_here(store, tmp_path):
    save(tmp_path, 8)
    (tmp_path / "checkpoints" / "16.saving" / "state").mkdir(parents=True)
    for name in ("checkpoints/16.saving/state/x", "LOCK", ".metrics.jsonl.7", "train.1.log", "tb/events"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to("/etc/hostname")
    Mirror(store, tmp_path, None).round(ending=True)
    assert set(store.sizes()) == {f"checkpoints/8/{n}" for n in STEP} | {"metrics.jsonl", "train.1.log", "tb/events"}


def test_what_did_not_change_is_sent_once(store, tmp_path):
    save(tmp_path, 8)
    mirror = Mirror(store, tmp_path, None, every=0)
    for _ in range(3):
        mirror.round()
    assert written(store).count("metrics.jsonl") == 1
    save(tmp_path, 16)
    mirror.round()
    assert written(store).count("metrics.jsonl") == 2


def test_a_step_is_removed_there_after_training_removed_it_and_a_newer_one_is_marked(store, tmp_path):
    mirror = Mirror(store, tmp_path, None)
    save(tmp_path, 8)
    mirror.round()
    shutil.rmtree(tmp_path / "checkpoints" / "8")
    mirror.round()
    assert steps.marked(store.sizes()) == [8]  # the only promise there is
    save(tmp_path, 16)
    while not mirror.round():
        pass
    mirror.round()
    assert steps.marked(store.sizes()) == [16]
    assert sent(store, 8) == set()


def test_the_newest_goes_first_and_one_that_training_removes_while_it_is_sent_arrives_whole(store, tmp_path):
    for step in (8, 16, 24):
        save(tmp_path, step)
    mirror, put = Mirror(store, tmp_path, None), store.client.files.put

    def removing(files, names):
        shutil.rmtree(tmp_path / "checkpoints" / "24", ignore_errors=True)
        put(files, names)

    store.client.files.put = removing
    assert not mirror.round()
    assert (steps.marked(store.sizes()), sent(store, 24)) == ([24], STEP)
    del store.client.files.put
    while not mirror.round():
        pass
    assert steps.marked(store.sizes()) == [8, 16, 24]


def test_two_processes_send_a_share_each_and_the_first_marks_when_both_have(store, tmp_path):
    save(tmp_path, 8)
    first, second = (Mirror(store, tmp_path, None, index, 2) for index in (0, 1))
    assert not first.round()
    assert not steps.marked(store.sizes())
    assert second.round()
    assert first.round()
    assert sent(store, 8) == STEP
    assert sorted(n for n in written(store) if n.startswith("checkpoints")) == sorted(
        f"checkpoints/8/{n}" for n in STEP
    )


def test_the_share_of_a_process_that_is_gone_is_sent_by_the_first(store, tmp_path, monkeypatch):
    monkeypatch.setattr(mirrors, "PEER_SECONDS", 0.0)
    save(tmp_path, 8)
    first = Mirror(store, tmp_path, None, 0, 2)
    assert [first.round() for _ in range(3)][-1]
    assert sent(store, 8) == STEP


def test_a_marker_that_is_there_is_never_overwritten(store, tmp_path):
    save(tmp_path, 8)
    other = b"of another run"
    store.write({steps.marker(8): other})
    with pytest.raises(StoreAway, match="written by something else"):
        Mirror(store, tmp_path, None).round()
    assert store.read(steps.marker(8)) == other


def test_a_store_that_is_away_is_told_once_stops_nothing_and_misses_nothing(store, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(mirrors, "POLL_SECONDS", 0.01)
    mirror = Mirror(store, tmp_path, None)
    store.client.away = True
    mirror.start()
    for step in (8, 16):
        save(tmp_path, step)
        time.sleep(0.1)
    assert sum("cannot be written" in line for line in caplog.messages) == 1
    store.client.away = False
    assert mirror.finish(20) == ""
    assert sum("written again" in line for line in caplog.messages) == 1
    assert steps.marked(store.sizes()) == [8, 16]
    assert store.read("metrics.jsonl") == (tmp_path / "metrics.jsonl").read_bytes()


def test_one_that_is_still_away_at_the_end_is_waited_for_so_long_and_no_longer(store, tmp_path):
    save(tmp_path, 8)
    store.client.away = True
    mirror = Mirror(store, tmp_path, None)
    mirror.start()
    started = time.monotonic()
    assert "no route" in mirror.finish(0.3)
    assert time.monotonic() - started < 2


def test_a_slow_store_makes_no_one_wait_but_the_end(store, tmp_path):
    store.client.delay = 0.2
    mirror = Mirror(store, tmp_path, None)
    started = time.monotonic()
    mirror.start()
    for step in (8, 16):
        save(tmp_path, step)
    assert time.monotonic() - started < 0.2
    assert mirror.finish(0.1) == ""  # that is for a store that is away
    assert steps.marked(store.sizes()) == [8, 16]


def test_half_a_step_is_no_promise_and_is_sent_anew(store, tmp_path):
    save(tmp_path, 8)
    Mirror(store, tmp_path, None).round()
    save(tmp_path, 16)
    first = Mirror(store, tmp_path, None, 0, 2)  # killed before the second sent its share
    first.marked.add(8)
    first.round()
    assert steps.marked(store.sizes()) == [8]
    assert {name.split("/")[1] for name in steps.unmarked(store.sizes())} == {"16"}


@pytest.mark.parametrize("name", sorted(STEP))
def test_any_flipped_bit_is_noticed_and_the_older_step_fetched(store, tmp_path, name):
    (tmp_path / "here").mkdir()
    for step in (8, 16):
        save(tmp_path / "here", step)
    mirror = Mirror(store, tmp_path / "here", None)
    while not mirror.round():
        pass
    flip(store, f"checkpoints/16/{name}")
    there = tmp_path / "there"
    there.mkdir()
    assert steps.fetch_newest(store, there, store.sizes()) == (8, [16])
    steps.set_aside(store, there, 16, "now")
    assert steps.marked(store.sizes()) == [8]
    assert {n for n in store.sizes() if "/16.corrupt-now/" in n} == {f"checkpoints/16.corrupt-now/{n}" for n in STEP}


def test_a_damaged_copy_here_is_fetched_again(store, tmp_path):
    target = save(tmp_path, 8)
    Mirror(store, tmp_path, None).round()
    before = (target / "state" / "a").read_bytes()
    (target / "state" / "a").write_bytes(b"x" + before[1:])
    assert steps.fetch_newest(store, tmp_path, store.sizes()) == (8, [])
    assert (target / "state" / "a").read_bytes() == before


def test_steps_that_are_only_there_stand_here_without_being_taken_for_complete(store, tmp_path):
    (tmp_path / "here").mkdir()
    for step in (8, 16):
        save(tmp_path / "here", step)
    mirror = Mirror(store, tmp_path / "here", None)
    while not mirror.round():
        pass
    there = tmp_path / "there"
    there.mkdir()
    steps.fetch_newest(store, there, store.sizes())
    steps.stand_in(store, there, [8, 16])
    assert steps.steps_on_disk(there) == [16]
    assert sorted(p.name for p in (there / "checkpoints").iterdir()) == ["16", "8"]
    assert json.loads((there / "checkpoints" / "8" / "manifest.json").read_text())["files"]


def test_names_that_would_lead_out_of_the_folder_are_not_fetched():
    cases = {"a/b": True, "../a": False, "a/../../b": False, "/a": False, "a//b": False, "a\\b": False, "a/.": False}
    assert {name: _stays_below(name) for name in cases} == cases
