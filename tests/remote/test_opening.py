"""A run directory in a store, as the commands open it."""

import json
import shutil
import sys
import threading

import pytest
from memory_store import flip, save

from ssl_jax.cli import main
from ssl_jax.errors import UserError
from ssl_jax.remote import opening, steps
from ssl_jax.remote.lease import name
from ssl_jax.remote.opening import fetched, reading, run_directory, staging
from ssl_jax.remote.store import is_remote, local_only, store_at
from ssl_jax.rundir.workdir import open_workdir

RUN = "s3://bucket/runs/x"


@pytest.fixture(autouse=True)
def here(store, tmp_path, monkeypatch):
    """This machine, on which the store is the one in memory."""
    monkeypatch.setenv("SSL_JAX_STAGING", str(tmp_path / "here"))
    monkeypatch.setenv("SSL_JAX_LEASE_SECONDS", "2")
    monkeypatch.setattr(opening, "store_at", lambda address: store)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """From now on, another machine."""
    return lambda: monkeypatch.setenv("SSL_JAX_STAGING", str(tmp_path / "elsewhere"))


def trained(*numbers):
    """A run that saved these steps; the folder it had."""
    with run_directory(RUN) as folder:
        (folder / "config.json").write_text("{}")
        for number in numbers:
            save(folder, number)
    return folder


def trained_while(happening):
    """A run during which something happens to its folder."""
    with run_directory(RUN) as folder:
        happening(folder)


def cut_off(store, folder, step):
    """The store goes away, and a step is saved."""
    store.client.away = True
    save(folder, step)
    return step


def test_a_local_directory_is_left_as_it_is(tmp_path):
    with run_directory(str(tmp_path)) as folder:
        assert folder == str(tmp_path)
    with reading(tmp_path) as folder:
        assert folder == tmp_path


def test_a_run_goes_on_elsewhere_from_what_the_store_has(store, elsewhere):
    trained(8, 16)
    elsewhere()
    with run_directory(RUN) as folder:
        assert steps.steps_on_disk(folder) == [16]
        assert (folder / "metrics.jsonl").read_text() == '{"step": 8}\n{"step": 16}\n'
        save(folder, 24)
        shutil.rmtree(folder / "checkpoints" / "8")  # as training does with what is too old
    assert steps.marked(store.sizes()) == [16, 24]


def test_it_goes_on_here_from_what_did_not_reach_the_store(store, monkeypatch):
    trained(8)
    monkeypatch.setenv("SSL_JAX_STORE_SECONDS", "0.1")
    with pytest.raises(UserError, match=r"lacks what was written last .*Everything is kept in .* goes on from there"):
        trained_while(lambda folder: cut_off(store, folder, 16))
    store.client.away = False
    monkeypatch.delenv("SSL_JAX_STORE_SECONDS")
    with run_directory(RUN) as folder:
        assert steps.steps_on_disk(folder) == [8, 16]
    assert steps.marked(store.sizes()) == [8, 16]


def test_what_is_here_is_set_aside_once_another_machine_went_on(store, elsewhere, tmp_path, monkeypatch):
    first = trained(8)
    elsewhere()
    trained(16)
    monkeypatch.setenv("SSL_JAX_STAGING", str(tmp_path / "here"))
    save(first, 12)  # never sent
    with run_directory(RUN) as folder:
        assert steps.steps_on_disk(folder) == [16]
    assert [path.name for path in folder.parent.glob("x.before-*/checkpoints/12")] == ["12"]
    assert steps.marked(store.sizes()) == [8, 16]


def test_a_second_run_is_refused_while_the_first_holds_the_store(store):
    with run_directory(RUN):
        there = json.loads(store.read(name(1)))
        store.write({name(1): json.dumps(there | {"pid": 1}).encode()})  # it is not this process
        with pytest.raises(UserError, match="in use by another run"), run_directory(RUN):
            pytest.fail("two at once")


def test_a_run_that_lost_the_store_stops_and_sends_nothing_more(store, monkeypatch):
    stopped = threading.Event()
    monkeypatch.setattr(opening, "_stop", stopped.set)
    monkeypatch.setenv("SSL_JAX_LEASE_SECONDS", "0.2")

    def taken_over(folder):
        store.write({name(2): store.read(name(1))})
        assert stopped.wait(20)
        save(folder, 8)

    with pytest.raises(UserError, match="another run has taken over"):
        trained_while(taken_over)
    assert not steps.marked(store.sizes())


def test_a_damaged_step_is_set_aside_and_all_damaged_ones_end_the_run_once(store, elsewhere):
    trained(8, 16)
    elsewhere()
    flip(store, "checkpoints/16/state/a")
    with run_directory(RUN) as folder:
        assert steps.steps_on_disk(folder) == [8]
    assert steps.marked(store.sizes()) == [8]
    flip(store, "checkpoints/8/meta")
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"), run_directory(RUN):
        pytest.fail("opened")
    with run_directory(RUN) as folder:
        assert steps.steps_on_disk(folder) == []


def test_half_a_step_is_removed_at_the_next_start(store, elsewhere):
    trained(8)
    elsewhere()
    store.write({"checkpoints/16/state/a": b"half"})
    with run_directory(RUN) as folder:
        assert steps.steps_on_disk(folder) == [8]
    assert not [name for name in store.sizes() if name.startswith("checkpoints/16/")]


def test_reading_fetches_one_step_and_sends_back_what_was_written(store):
    trained(8, 16)
    for step, found in ((None, 16), (8, 8)):
        with reading(RUN, step) as folder:
            assert steps.steps_on_disk(folder) == [found]
            (folder / "eval").mkdir(exist_ok=True)
            (folder / "eval" / "knn.json").write_text(str(found))
        assert store.read("eval/knn.json") == str(found).encode()
    with pytest.raises(UserError, match="holds no checkpoint of step 9; it has 8, 16"), reading(RUN, 9):
        pytest.fail("opened")


def test_reading_passes_over_a_damaged_step_and_changes_nothing_there(store):
    trained(8, 16)
    flip(store, "checkpoints/16/meta")
    before = store.sizes()
    with reading(RUN) as folder:
        assert steps.steps_on_disk(folder) == [8]
    assert store.sizes() == before


def test_a_folder_of_a_store_is_read_as_a_local_one(store):
    store.write({"bundle.json": b"{}", "a/b": b"1"})
    with fetched(RUN) as folder:
        assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*")) == ["a", "a/b", "bundle.json"]


def test_an_error_of_the_run_is_not_hidden_by_a_store_that_is_away(store, monkeypatch, caplog):
    monkeypatch.setenv("SSL_JAX_STORE_SECONDS", "0.1")
    with pytest.raises(ZeroDivisionError):
        trained_while(lambda folder: cut_off(store, folder, 8) / 0)
    assert "lacks what was written last" in caplog.text


def test_what_does_not_fit_on_the_disk_here_is_not_fetched(store, elsewhere, monkeypatch):
    trained(8)
    elsewhere()
    monkeypatch.setattr(steps.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(UserError, match=r"MB free, and a checkpoint needs .* SSL_JAX_STAGING"), run_directory(RUN):
        pytest.fail("opened")


def test_a_store_that_does_not_answer_at_the_start_ends_the_run(store):
    store.client.away = True
    with pytest.raises(UserError, match=r"cannot be used .*no route.* check the address"), run_directory(RUN):
        pytest.fail("opened")


@pytest.mark.parametrize("address", ["hdfs://a/b", "http://a/b", "file:///tmp/x", "gcs://b/x", "s3a://b/x", "S3://b/x"])
def test_addresses_of_other_stores_are_refused_at_once(address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match="is not known; write a local directory, or an address that begins with s3://, gs://"
    ):
        is_remote(address)
    for words in (["train", "--config", "no_such_recipe"], ["eval"], ["report"]):
        assert main([*words, "--workdir", address]) == 2
        assert "is not known" in capsys.readouterr().err
    assert main(["replay", f"{address}/crash/step_1"]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["runs/x", "/a:b", "./gs:/x", "a:b://c/../d", "~/x"])
def test_local_paths_are_local(path):
    assert path.startswith("a:b") or not is_remote(path)
    assert local_only(path, "--out") == path


def test_what_can_only_be_written_here_is_not_written_to_a_store(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["preview", "--config", "mae_vit_fashion:tiny", "--out", "gs://bucket/x.png"]) == 2
    assert "is in a store, and only local files can be used here" in capsys.readouterr().err
    with pytest.raises(UserError, match="is no local directory"), open_workdir("gs://bucket/x", {}):
        pytest.fail("made a folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("address", "extra"), [("s3://b/x", "s3"), ("gs://b/x", "gcs")])
def test_a_client_that_is_not_installed_is_named_with_its_extra(address, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match=rf"pip install ssl_jax\[{extra}\]"):
        store_at(address)


def test_an_address_without_a_bucket_is_refused():
    with pytest.raises(UserError, match="names no bucket"):
        store_at("s3://")


def test_the_folder_that_stands_for_an_address_is_named_like_it(monkeypatch, tmp_path):
    names = {address: staging(address) for address in (RUN, RUN + "/", "gs://bucket/runs/x", "s3://bucket/a b/é")}
    assert names[RUN] == names[RUN + "/"] != names["gs://bucket/runs/x"]
    assert [path.name for path in names.values()] == ["x", "x", "x", "é"]
    (tmp_path / "file").touch()
    monkeypatch.setenv("SSL_JAX_STAGING", str(tmp_path / "file"))
    with pytest.raises(UserError, match="name a folder in SSL_JAX_STAGING"):
        staging(RUN)
