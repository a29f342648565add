"""A checkpoint is what was written, or it is not used; a disk that fails does not stop training."""

import errno
import json
import os
import shutil
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from fault_runs import losses, saved_steps, trained

from ssl_jax.checkpoint import files as checkpoint_files
from ssl_jax.checkpoint import manifest
from ssl_jax.checkpoint.manifest import CheckpointCorrupt
from ssl_jax.checkpoint.store import Checkpoints
from ssl_jax.errors import UserError


def state(step):
    return {"w": jnp.arange(6.0).reshape(2, 3) + step, "n": jnp.asarray(step, jnp.int32)}


def save(directory, *steps, **options):
    checkpoints = Checkpoints(directory, **options)
    for step in steps:
        checkpoints.save(step, state(step), {"cursor": step})
    checkpoints.finish()
    checkpoints.close()


def opened(directory):
    checkpoints = Checkpoints(directory)
    step = checkpoints.latest_valid_step()
    found = None if step is None else checkpoints.restore(state(0))
    checkpoints.close()
    return step, found


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two") / "checkpoints"
    save(directory, 1, 2)
    return directory


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def damaged(path):
    """Whether the manifest notices."""
    try:
        manifest.check(path)
    except CheckpointCorrupt:
        return True
    return False


def files(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.stat().st_size)


def test_any_change_to_any_file_is_noticed(two, tmp_path):
    assert not damaged(two / "2")
    assert any("ocdbt" in name or "/d/" in name for name in files(two / "2"))
    for name in files(two / "2"):
        for damage in (flip, truncate, os.remove):
            copy = shutil.copytree(two / "2", tmp_path / "2", dirs_exist_ok=True)
            damage(copy / name)
            assert damaged(copy), (name, damage)


@pytest.mark.slow
def test_bits_all_over_the_small_files_count(two, tmp_path):
    for name in [n for n in files(two / "2") if (two / "2" / n).stat().st_size < 400]:
        original = (two / "2" / name).read_bytes()
        copy = shutil.copytree(two / "2", tmp_path / "2", dirs_exist_ok=True)
        for bit in range(0, 8 * len(original), 61):  # 61 and 8 have no common factor: every place in a byte
            data = bytearray(original)
            data[bit // 8] ^= 1 << bit % 8
            (copy / name).write_bytes(data)
            assert damaged(copy), (name, bit)
        (copy / name).write_bytes(original)


@pytest.mark.parametrize("damage", [flip, truncate, os.remove])
def test_a_damaged_step_is_set_aside_loudly_and_the_older_one_used(two, tmp_path, caplog, damage):
    directory = shutil.copytree(two, tmp_path / "checkpoints")
    name = next(n for n in files(directory / "2") if "/d/" in n)
    damage(directory / "2" / name)
    reader = Checkpoints(directory, read_only=True)
    assert reader.latest_valid_step() == 1
    with pytest.raises(UserError, match="step 2 is damaged"):
        reader.restore(state(0), 2)
    assert (directory / "2").exists()  # whoever only reads changes nothing
    step, found = opened(directory)
    assert step == 1
    np.testing.assert_array_equal(found["w"], state(1)["w"])
    assert not (directory / "2").exists()
    assert len(list(directory.glob("2.corrupt-*"))) == 1
    assert "the checkpoint of step 2" in caplog.text
    assert name in caplog.text
    save(directory, 2)
    assert opened(directory)[0] == 2


def test_a_file_that_cannot_be_read_is_damage(two, tmp_path, monkeypatch):
    def unreadable(file, algorithm):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(manifest.hashlib, "file_digest", unreadable)
    assert damaged(two / "2")


def test_when_all_are_damaged_the_run_is_refused_once(two, tmp_path):
    directory = shutil.copytree(two, tmp_path / "checkpoints")
    for step in ("1", "2"):
        flip(directory / step / "meta" / "metadata")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"):
        opened(directory)
    assert opened(directory)[0] is None


def test_what_is_not_a_checkpoint_is_ignored_and_never_deleted(two, tmp_path):
    directory = shutil.copytree(two, tmp_path / "checkpoints")
    (directory / "3").mkdir()
    (directory / "4").mkdir()
    (directory / "4" / "notes").write_text("mine")
    for name in ("5.orbax-checkpoint-tmp", "backup of 2", "02", "-1"):
        (directory / name).mkdir()
    (directory / "6").write_text("a file")
    (directory / "7.saving").mkdir()
    assert Checkpoints(directory, read_only=True).latest_valid_step() == 2
    assert (directory / "7.saving").exists()
    assert opened(directory)[0] == 2
    assert not (directory / "7.saving").exists()  # ours, half-written
    (aside,) = directory.glob("4.incomplete-*")
    assert (aside / "notes").read_text() == "mine"
    assert (directory / "backup of 2").exists()
    save(directory, 3, 4)
    assert opened(directory)[0] == 4


def test_times_of_files_do_not_matter(two, tmp_path):
    directory = shutil.copytree(two, tmp_path / "checkpoints")
    for age, path in enumerate(sorted(directory.rglob("*"))):
        os.utime(path, (2e9 - age * 1e6, 2e9 - age * 1e6))
    os.utime(directory / "2", (0, 0))
    assert opened(directory)[0] == 2


def test_a_restored_state_counts_as_saved(two):
    checkpoints = Checkpoints(two)
    assert checkpoints.age() is None
    checkpoints.restore(state(0))
    assert 0 <= checkpoints.age() < 60
    checkpoints.close()


def test_the_newest_and_the_permanent_ones_are_kept(tmp_path):
    save(tmp_path / "c", 2, 3, 4, 5, 6, keep=2, keep_every=4)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["4", "5", "6"]


def test_a_step_that_came_from_elsewhere_while_training_does_not_take_the_place_of_ours(two, tmp_path):
    directory = tmp_path / "c"
    checkpoints = Checkpoints(directory)
    checkpoints.save(1, state(1), {})
    checkpoints.wait()
    shutil.copytree(two / "2", directory / "2")
    checkpoints.save(2, state(7), {})
    checkpoints.finish()
    checkpoints.save(2, state(8), {})  # ours is left alone
    checkpoints.finish()
    checkpoints.close()
    np.testing.assert_array_equal(opened(directory)[1]["w"], state(7)["w"])
    assert len(list(directory.glob("2.stranger-*"))) == 1


def test_what_a_kill_leaves_of_the_probe_for_space_is_removed(tmp_path):
    save(tmp_path / "c", 1)
    (tmp_path / "c" / "probe.saving").write_bytes(b"x")
    assert opened(tmp_path / "c")[0] == 1
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["1"]


def test_a_full_disk_is_noticed_before_writing_and_stops_the_run_at_the_third_time(tmp_path, monkeypatch, caplog):
    checkpoints = Checkpoints(tmp_path / "c", max_failures=3)
    checkpoints.save(1, state(1), {})
    checkpoints.wait()
    full = SimpleNamespace(free=33)  # the state has 28 bytes; 1.2 times that is 33.6
    monkeypatch.setattr(checkpoint_files.shutil, "disk_usage", lambda _: full)
    for step in (2, 3):
        checkpoints.save(step, state(step), {})
    assert "step 3 could not be saved" in caplog.text
    assert "the checkpoint of step 1 is intact, and training goes on (failure 2 of 3 in a row)" in caplog.text
    with pytest.raises(UserError, match="the last state could not be saved"):
        checkpoints.finish()
    full.free = 34
    checkpoints.save(4, state(4), {})
    checkpoints.finish()
    full.free = 0
    for step in (5, 6):
        checkpoints.save(step, state(step), {})
    with pytest.raises(UserError, match=r"3 checkpoints in a row could not be saved .* step 4 is intact"):
        checkpoints.save(7, state(7), {})
    checkpoints.close()
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["1", "4"]


def test_a_directory_that_goes_away_for_a_while_does_not_stop_the_run(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, state(1), {})
    checkpoints.wait()
    (tmp_path / "c").rename(tmp_path / "elsewhere")
    (tmp_path / "c").write_text("what a mount that failed may leave")
    checkpoints.save(2, state(2), {})
    checkpoints.wait()
    (tmp_path / "c").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "c")
    checkpoints.save(3, state(3), {})
    checkpoints.finish()
    checkpoints.close()
    assert opened(tmp_path / "c")[0] == 3


QUOTA = """
import resource
from ssl_jax.checkpoint.store import Checkpoints
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
failed = Checkpoints._failed
def failed_once(self, step, reason):
    failed(self, step, reason)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
Checkpoints._failed = failed_once
"""


def test_a_write_that_fails_halfway_is_told_and_the_run_goes_on(tmp_path):
    workdir = tmp_path / "run"
    run = trained(workdir, "--config.model.width=4000", prepare=QUOTA)
    assert "the checkpoint of step 8 could not be saved (" in run.said()
    assert "there is no earlier checkpoint, and training goes on (failure 1 of 3 in a row)" in run.said()
    assert saved_steps(workdir) == [16, 24]
    assert {p.name for p in (workdir / "checkpoints").iterdir()} == {"16", "24"}
    assert sorted(losses(workdir)) == list(range(1, 25))


def test_metrics_wait_for_a_full_disk(tmp_path, monkeypatch, caplog):
    from ssl_jax.rundir.log import MetricsLog

    write, full = os.write, [False, True, True, False]

    def short(file, data):
        """Now and then only a part of the line fits, and then nothing."""
        if not full.pop(0):
            return write(file, data)
        if len(full) == 2:
            return write(file, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with MetricsLog(tmp_path, 4, tensorboard=False) as log:
        monkeypatch.setattr("ssl_jax.rundir.lines.os.write", short)
        log.write(1, loss=0.5)
        log.write(2, loss=0.25)
        assert losses(tmp_path) == {1: 0.5}
        log.write(3, loss=0.125)
        full += [False, False]
        log.write(4, loss=1.0)
        monkeypatch.undo()
    assert caplog.text.count("cannot be written") == 1
    assert losses(tmp_path) == {1: 0.5, 2: 0.25, 3: 0.125, 4: 1.0}
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4]
