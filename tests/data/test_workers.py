"""The same batches from threads, processes and hosts, before and after a resume; what worker processes must not do."""

import itertools
import os
import signal
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from processes import Told

from ssl_jax.data import workers
from ssl_jax.data.bad import BadRecords
from ssl_jax.data.cropped import cropped
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.order import order
from ssl_jax.data.pipeline import batches
from ssl_jax.data.sources import Arrays, ImageFolder
from ssl_jax.errors import UserError

POLICIES = {
    "image": {"count": 2, "scale": (0.2, 1.0), "flip": 0.5},
    "local": {"count": 3, "size": 8, "scale": (0.1, 0.4)},
}
AUGMENT = ImageViews(16, (0.5,), (0.25,), POLICIES)
BATCH = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 pictures of several sizes, two of them broken."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(28):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize((40 + i, 60 - i), Image.Resampling.BICUBIC).save(root / f"{i:02}.jpg", quality=90)
    for i in (28, 29):
        (root / f"{i}.jpg").write_bytes(b"\xff\xd8\xffno picture")
    return ImageFolder(root, size=20)


def take(source, first, count, **options):
    """Batches, and what was found bad in the making."""
    bad = BadRecords(0.2)
    stream = batches(source, seed=5, batch_size=BATCH, start_step=first, bad=bad, **options)
    taken = list(itertools.islice(stream, count))
    stream.close()
    return taken, [(entry.index, entry.name) for entry in bad.entries]


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].dtype == b[name].dtype


def on_hosts(source, hosts, first, count, **options):
    """The global batches that so many hosts read together."""
    parts = [take(source, first, count, process_index=p, process_count=hosts, **options)[0] for p in range(hosts)]
    return [{name: np.concatenate([part[k][name] for part in parts]) for name in parts[0][k]} for k in range(count)]


def check_all_ways(source, steps, resumed_at):
    """Ids, epochs and pixels of `steps` batches are the same however they are read."""
    plain, bad = take(source, 0, steps)
    assert len({batch["_epoch"].max() for batch in plain}) > 1, "more than one epoch"
    threaded, found = take(source, 0, steps, threads=2, prefetch=3)
    assert_same(threaded, plain)
    assert found == bad != []
    apart, found = take(source, 0, steps, workers=2, prefetch=3)
    assert_same(apart, plain)
    assert found == bad
    assert_same(on_hosts(source, 2, 0, steps), plain)
    rest = steps - resumed_at
    assert resumed_at * BATCH % len(source), "inside of an epoch"
    assert_same(on_hosts(source, 2, resumed_at, rest, threads=2), plain[resumed_at:])
    assert_same(take(source, resumed_at, rest, workers=1)[0], plain[resumed_at:])


def test_batches_do_not_depend_on_who_reads_them(folder):
    """Ten batches of crops from the host; the slow test below has 200, and squares for the device as well."""
    check_all_ways(cropped(folder, AUGMENT, "host", "antialias", 5), 10, 7)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["host", "device"])
def test_200_batches_do_not_depend_on_who_reads_them(folder, place):
    check_all_ways(cropped(folder, AUGMENT, place, "antialias", 5), 200, 73)


def blocks():
    return {path.name for path in Path("/dev/shm").glob("ssl_jax_*")}


def test_worker_processes_have_no_jax_leave_nothing_and_a_killed_one_is_told():
    before = blocks()
    stream = batches(Told(), seed=0, batch_size=4, workers=2, prefetch=4)
    first = [next(stream) for _ in range(4)]
    processes = {int(p) for batch in first for p in batch["process"]}
    assert 1 <= len(processes) <= 2
    assert os.getpid() not in processes
    assert not any(batch["jax"].any() for batch in first)
    os.kill(processes.pop(), signal.SIGKILL)
    with pytest.raises(UserError, match="a process that reads data was killed"):
        list(itertools.islice(stream, 8))
    stream.close()
    assert blocks() <= before
    assert not active_children()


def test_a_refusal_inside_a_worker_is_the_trainers():
    """It comes in the place of its batch, after all batches before it."""
    stream = batches(Told(fails_at=3), seed=0, batch_size=4, workers=1)
    place = order(0, np.arange(64), 64)[0].tolist().index(3) // 4
    before = list(itertools.islice(stream, place))
    with pytest.raises(UserError, match=r"^no such thing; use another$"):
        next(stream)
    assert [len(batch["_id"]) for batch in before] == [4] * place


def test_sources_that_cannot_or_need_not_go_to_other_processes_are_refused():
    unpicklable = Told()
    unpicklable.local = lambda: None
    with pytest.raises(UserError, match=r"cannot go to other processes .*; use data\.threads"):
        next(batches(unpicklable, seed=0, batch_size=4, workers=1))
    with pytest.raises(UserError, match="records are in memory"):
        batches(Arrays({"x": np.zeros((4, 1))}), seed=0, batch_size=4, workers=1)


def test_a_batch_that_shared_memory_cannot_hold_is_refused(monkeypatch):
    """To write there would kill the process."""
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(UserError, match="a batch of 128 bytes does not fit into /dev/shm, which has 100 left"):
        workers._require_room(128)
