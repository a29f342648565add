"""Runs in a store, on emulators of S3 and of Google Cloud Storage that these tests start on loopback."""

from __future__ import annotations

import os
import socket
import time

import pytest
from fault_objective import __file__ as OBJECTIVE
from fault_runs import RECIPE, Run, free_port, losses
from store_servers import EXTRA, Server, absent, env_of

from ssl_jax.remote import steps
from ssl_jax.remote.mirror import Mirror
from ssl_jax.remote.store import Store, StoreAway, store_at

EVALUATED = ("--config", f"{RECIPE}:evaluated", "--config.log.tensorboard=True")


@pytest.fixture(scope="module", params=["s3", "gs"])
def emulator(request, tmp_path_factory):
    if missing := absent(request.param):
        extra, lacks = EXTRA[request.param], ", ".join(missing)
        pytest.skip(f"{request.param}:// is not tried without {lacks}: pip install -e '.[{extra},dev]'")
    emulator = Server(request.param, tmp_path_factory.mktemp(request.param))
    yield emulator
    emulator.close()


@pytest.fixture
def store(emulator, request, monkeypatch) -> Store:
    """Objects of this test alone, seen from this process."""
    for key, value in emulator.env.items():
        monkeypatch.setenv(key, value)
    return store_at(f"{emulator.scheme}://bucket/runs/{request.node.name.partition('[')[0][-40:]}")


def run(store, emulator, machine, *options, name="run", **env) -> Run:
    """`ssl-jax train` there, on a machine that keeps its copy in the folder `machine`."""
    env = emulator.env | {"SSL_JAX_STAGING": str(machine), "SSL_JAX_LEASE_SECONDS": "4"} | env
    return Run(machine, *EVALUATED, *options, address=store.address, name=name, **env)


def command(store, emulator, machine, word, *options) -> str:
    """Another command on the run there; what it printed."""
    words = (word, "--workdir", store.address, "--allow", OBJECTIVE, *options)
    env = emulator.env | {"SSL_JAX_STAGING": str(machine)}
    with Run(machine, name=word, command=words, **env) as made:
        assert made.wait() == 0, made.said()
        return made.said()


def marked(store) -> list[int]:
    return steps.marked(store.sizes())


def metrics(store, tmp_path) -> dict[int, float]:
    (tmp_path / "fetched").mkdir(exist_ok=True)
    store.download({"metrics.jsonl": tmp_path / "fetched" / "metrics.jsonl"})
    return losses(tmp_path / "fetched")


@pytest.mark.slow
def test_a_run_is_trained_killed_resumed_elsewhere_and_evaluated(store, emulator, straight, tmp_path):
    hold = ("--config.data.pretrain.hold", f"(150, '{tmp_path / 'go'}')")
    with run(store, emulator, tmp_path / "first", *hold) as first:
        first.until(lambda: 8 in marked(store))
        first.kill()
    (tmp_path / "go").touch()
    with run(store, emulator, tmp_path / "second", *hold) as second:
        assert second.wait() == 0, second.said()
        assert "resumed at step" in second.said()
    assert marked(store) == [8, 16, 24]
    assert metrics(store, tmp_path) == losses(straight)
    command(store, emulator, tmp_path / "third", "eval", "--probes", "knn")
    command(store, emulator, tmp_path / "third", "report")
    assert {"eval/knn.json", "report.html"} <= store.sizes().keys()
    assert any(name.startswith("tb/") for name in store.sizes())
    begun = (*EVALUATED, f"--config.init_from.workdir={store.address}", "--config.init_from.step=16")
    env = emulator.env | {"SSL_JAX_STAGING": str(tmp_path / "third")}
    with Run(tmp_path / "local", *begun, "--config.total_steps=1", **env) as local:
        assert local.wait() == 0, local.said()
        assert f"starting from step 16 of {store.address}" in local.said()


@pytest.mark.slow
def test_a_store_that_is_away_while_training_loses_nothing(store, emulator, straight, tmp_path):
    hold = ("--config.data.pretrain.hold", f"(150, '{tmp_path / 'go'}')")
    with run(store, emulator, tmp_path / "here", *hold) as made:
        made.until(lambda: 8 in marked(store))
        emulator.away(True)
        (tmp_path / "go").touch()
        made.until(lambda: "is tried again" in made.said())
        time.sleep(1)
        emulator.away(False)
        assert made.wait(180) == 0, made.said()
    assert marked(store) == [8, 16, 24]
    assert metrics(store, tmp_path) == losses(straight)
    assert made.said().count("cannot be written") == 1


@pytest.mark.slow
def test_one_that_stays_away_ends_the_run_with_2_and_the_same_command_sends_the_rest(
    store, emulator, straight, tmp_path
):
    hold = ("--config.data.pretrain.hold", f"(150, '{tmp_path / 'go'}')")
    with run(store, emulator, tmp_path / "here", *hold, SSL_JAX_STORE_SECONDS="2") as made:
        made.until(lambda: 8 in marked(store))
        emulator.away(True)
        (tmp_path / "go").touch()
        try:
            assert made.wait(180) == 2, made.said()
        finally:
            emulator.away(False)
        assert str(tmp_path / "here") in made.said().splitlines()[-1]
    assert max(marked(store)) < 24
    with run(store, emulator, tmp_path / "here", *hold) as again:
        assert again.wait() == 0, again.said()
        assert "resumed at step 24 of 24" in again.said()
    assert marked(store) == [8, 16, 24]
    assert metrics(store, tmp_path) == losses(straight)


@pytest.mark.slow
def test_two_runs_in_one_place_are_one_and_a_refusal(store, emulator, tmp_path):
    hold = ("--config.data.pretrain.hold", f"(100, '{tmp_path / 'go'}')")
    with run(store, emulator, tmp_path / "first", *hold) as first:
        first.until(lambda: 8 in marked(store))
        with run(store, emulator, tmp_path / "second", *hold) as second:
            assert second.wait() == 2
            assert f"is in use by another run (process {first.process.pid}" in second.said()
        (tmp_path / "go").touch()
        assert first.wait() == 0, first.said()
    assert marked(store) == [8, 16, 24]


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_processes_are_one_run_there_if_they_see_one_folder(store, emulator, tmp_path):
    flags = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process-id")
    for folders, code in ((("one", "one"), 0), (("one", "two"), 2)):
        both = [
            run(store, emulator, tmp_path / folder, *flags, str(i), name=f"{code}p{i}", SSL_JAX_CONNECT_SECONDS="60")
            for i, folder in enumerate(folders)
        ]
        assert [made.wait(180) for made in both] == [code, code], "".join(made.said() for made in both)
    assert "not all processes see" in both[0].said() + both[1].said()
    assert marked(store) == [8, 16, 24]
    assert {"train.log", "train.1.log"} <= store.sizes().keys()


def test_what_a_store_promises(store, tmp_path):
    """What the mirror and the lease are built on, asked of each store."""
    assert [store.create("a/b", b"1"), store.create("a/b", b"2")] == [True, False]
    assert store.read("a/b") == b"1"
    store.write({"c": b"12", "é f": b"3"})
    (tmp_path / "x").write_bytes(b"x" * 9)
    store.upload({"d/e": tmp_path / "x"})
    assert store.sizes() == {"a/b": 1, "c": 2, "é f": 1, "d/e": 9}
    assert (store.sizes("a"), store.sizes("no")) == ({"a/b": 1}, {})
    assert abs(store.written("c") - store.written("a/b")) < 60
    store.download({"d/e": tmp_path / "y" / "z", "é f": tmp_path / "y" / "f"})
    assert [(tmp_path / "y" / name).stat().st_size for name in "zf"] == [9, 1]
    store.move({"a/b": "g/b"})
    store.remove(["c", "never"])
    assert sorted(store.sizes()) == ["d/e", "g/b", "é f"]
    with pytest.raises(FileNotFoundError):
        store.read("a/b")


def test_a_checkpoint_arrives_whole_and_one_changed_byte_of_it_is_noticed(store, emulator, tmp_path):
    folder = tmp_path / "run"
    for step in (8, 16):
        saved(folder, step)
    mirror = Mirror(store, folder, None)
    asked = len(emulator.requests())
    while not mirror.round():
        pass
    assert marked(store) == [8, 16]
    assert len(emulator.requests()) - asked < 40
    store.write({"checkpoints/16/state/b": b"another"})
    (tmp_path / "there").mkdir()
    assert steps.fetch_newest(store, tmp_path / "there", store.sizes()) == (8, [16])
    steps.set_aside(store, tmp_path / "there", 16, "now")
    assert marked(store) == [8]
    assert len([name for name in store.sizes() if "16.corrupt-now" in name]) == 4


def saved(folder, step) -> None:
    from ssl_jax.checkpoint import manifest

    saving = folder / "checkpoints" / f"{step}.saving"
    (saving / "state").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (saving / "state" / name).write_bytes(os.urandom(7))
    manifest.write(saving)
    saving.rename(saving.with_name(str(step)))


@pytest.fixture
def silent():
    """A port that takes every connection, and neither reads nor answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_store_that_takes_connections_and_never_answers_keeps_no_run_waiting(silent, scheme, monkeypatch, tmp_path):
    if missing := absent(scheme):
        pytest.skip(f"{scheme}:// is not tried without {', '.join(missing)}")
    for key, value in env_of(scheme, silent).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("SSL_JAX_STILL_SECONDS", "0.5")
    store = store_at(f"{scheme}://silent/run")
    type(store.client).clear_instance_cache()
    store = store_at(store.address)
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / ".large").write_bytes(bytes(2**23))  # more than a socket holds
    begun = time.monotonic()
    with pytest.raises(StoreAway, match=r"nothing of it moved, for 0\.5 s"):
        store.upload({"large": tmp_path / ".large"})
    mirror = Mirror(store, tmp_path, None)
    mirror.start()
    assert "nothing of it moved" in mirror.finish(patience=0.1)
    assert time.monotonic() - begun < 30
    type(store.client).clear_instance_cache()


@pytest.mark.slow
def test_a_store_that_answers_no_request_is_away(store, emulator):
    emulator.away(True)
    try:
        with pytest.raises(StoreAway):
            store.read("x")
    finally:
        emulator.away(False)
