"""TensorBoard takes what it is given, or is left out; nobody waits for it."""

import os
import threading
import time

import pytest

from ssl_jax.rundir import board as module
from ssl_jax.rundir.board import Board, _EventFile


def records(path) -> int:
    """How many whole events a file holds."""
    data, count = path.read_bytes(), 0
    while data:
        length = int.from_bytes(data[:8], "little")
        assert len(data) >= length + 16
        data, count = data[length + 16 :], count + 1
    return count


def test_events_of_two_starts_within_a_second_are_all_there(tmp_path):
    for step in (1, 2):
        board = Board(tmp_path / "tb")
        board.write(step, {"step": step, "loss": 1.0, "health": "healthy", "norm": None})
        board.close()
    assert sum(records(path) for path in (tmp_path / "tb").iterdir()) == 4  # each start says which version it writes


def test_what_a_full_disk_does_not_take_is_written_later_and_whole(tmp_path, monkeypatch, caplog):
    write, room = os.write, [3]
    monkeypatch.setattr(module.os, "write", lambda file, data: write(file, bytes(data[: room[0]])))
    file = _EventFile(tmp_path / "events")
    file.write(b"0123456789")
    file.flush()
    assert (tmp_path / "events").read_bytes() == b""
    file.write(b"abc")
    room[0] = 100
    file.close()
    assert (tmp_path / "events").read_bytes() == b"0123456789abc"
    assert caplog.text.count("cannot be written") == 1


def test_what_waits_for_the_disk_has_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HELD", 100)
    file = _EventFile(tmp_path / "events")
    for _ in range(50):
        file.write(b"0123456789")
    file.close()
    assert (tmp_path / "events").read_bytes() == b""


@pytest.mark.parametrize("stuck", ["add_scalar", "close"])
def test_nobody_waits_for_a_board_that_does_not_answer(tmp_path, monkeypatch, caplog, stuck):
    released = threading.Event()

    class Stuck:
        def __init__(self, *_, **__):
            setattr(self, stuck, lambda *_: released.wait())

        def add_scalar(self, *_): ...
        def close(self): ...

    monkeypatch.setattr("tensorboardX.SummaryWriter", Stuck)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    monkeypatch.setattr(module, "WAITING", 10)
    board, start = Board(tmp_path / "tb"), time.monotonic()
    for step in range(100 if stuck == "add_scalar" else 1):
        board.write(step, {"step": step, "loss": 1.0})
    board.close()
    released.set()
    assert time.monotonic() - start < 5
    assert caplog.text.count("TensorBoard stopped") == 1


def test_a_folder_that_is_a_link_or_a_file_gets_no_board(tmp_path, caplog):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tb").symlink_to(tmp_path / "elsewhere")
    board = Board(tmp_path / "tb")
    board.write(1, {"step": 1, "loss": 1.0})
    board.close()
    assert not list((tmp_path / "elsewhere").iterdir())
    assert "TensorBoard stopped" in caplog.text
