"""metrics.jsonl round-trips and can be cut back; the progress line suits its place; nothing here stops a run."""

import io
import json
import logging
import math
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.rundir.log import (
    MetricsLog,
    from_line,
    logger,
    messages,
    progress_line,
    read_metrics,
    replace_file,
    short_time,
    to_line,
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def quiet(tmp_path):
    with MetricsLog(tmp_path, 100, tensorboard=False, stream=io.StringIO()) as log:
        yield log


def bits(x: float) -> bytes:
    return struct.pack("<d", x)


@settings(max_examples=200, deadline=None)
@given(st.floats())
def test_floats_round_trip_to_the_bit(x):
    line = to_line(3, {"loss": x})
    json.loads(line, parse_constant=pytest.fail)  # valid JSON: no NaN, no Infinity
    found = from_line(line)["loss"]
    assert math.isnan(found) if math.isnan(x) else bits(found) == bits(x)


def test_a_line_holds_scalars_of_any_kind():
    numbers = {
        "loss": np.float32(0.1),
        "n": np.int32(3),
        "ok": np.True_,
        "health": "healthy",
        "rank": None,
        "x": np.ones(1),
    }
    assert json.loads(to_line(np.int64(7), numbers)) == {
        "step": 7, "loss": float(np.float32(0.1)), "n": 3, "ok": True, "health": "healthy", "rank": None, "x": 1.0,
    }  # fmt: skip


def test_nonfinite_numbers_are_null_and_named():
    record = json.loads(to_line(1, {"loss": float("nan"), "norm": -math.inf}))
    assert record == {"step": 1, "loss": None, "norm": None, "nonfinite": {"loss": "nan", "norm": "-inf"}}


def test_written_lines_are_on_disk_at_once(quiet, tmp_path):
    quiet.write(1, loss=1.5)
    quiet.write(2, loss=0.5, health="healthy")
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.5}, {"step": 2, "loss": 0.5, "health": "healthy"}]
    assert read_metrics(tmp_path / "metrics.jsonl") == read_metrics(tmp_path)
    assert read_metrics(tmp_path / "nowhere") == []


def test_cut_back_drops_what_came_after_the_restored_step(quiet, tmp_path):
    for step in range(1, 6):
        quiet.write(step, loss=step / 3)
    before = (tmp_path / "metrics.jsonl").read_text().splitlines()
    quiet.cut_back(3)
    quiet.write(4, loss=4 / 3)
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == before[:4]


@pytest.mark.parametrize(
    "torn", ['{"step": 2, "lo', '{"step": 2}', "\x00\x00\x00", '{"step": 2, "loss": 1.0}garbage\n', "[]\n"]
)
def test_a_line_cut_short_by_a_crash_is_dropped_before_the_next_one(tmp_path, torn):
    good = to_line(1, {"loss": 1.0})
    (tmp_path / "metrics.jsonl").write_text(good + torn)
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}]
    with MetricsLog(tmp_path, 10, tensorboard=False, stream=io.StringIO()) as log:
        log.write(2, loss=0.5)
    assert (tmp_path / "metrics.jsonl").read_text() == good + to_line(2, {"loss": 0.5})


def test_replace_file_leaves_the_old_one_when_writing_fails(tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    replace_file(file, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError):
        replace_file(file, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("config.json", "old")]


# --- the progress line


def test_progress_line_says_it_all():
    shown = {"loss": 4.3214, "lr": 1e-3, "examples_per_s": 1234.5, "data_wait": 0.031}
    assert progress_line(120, 2000, 80.2, checkpoint_age=42, health="healthy", **shown) == (
        "step 120/2000 6% | loss 4.321 | lr 1.00e-03 | 1,234 examples/s | data wait 3% | ETA 1m20s | "
        "checkpoint 42s ago | healthy"
    )
    assert progress_line(0, 2000, None) == "step 0/2000 0% | ETA ? | no checkpoint yet"
    speeds = {"tokens": 123_456.7, "seconds of audio": 8.125}
    assert progress_line(1, 2, 9, examples_per_s=3, speeds=speeds) == (
        "step 1/2 50% | 3 examples/s | 123,457 tokens/s | 8.12 seconds of audio/s | ETA 9s | no checkpoint yet"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.6, "1m00s"), (3599, "59m59s"), (11100, "3h05m"), (187200, "2d04h")]
)
def test_times_are_short(seconds, text):
    assert short_time(seconds) == text


def test_eta_is_measured_over_recent_steps(tmp_path):
    now = iter([0.0, 10.0, 15.0])
    stream = io.StringIO()
    with MetricsLog(tmp_path, 100, tensorboard=False, stream=stream, clock=lambda: next(now)) as log:
        for step in (10, 20, 40):
            log.progress(step)
    assert [line.split(" | ")[1] for line in stream.getvalue().splitlines()] == ["ETA ?", "ETA 1m20s", "ETA 30s"]


def test_plain_lines_where_there_is_no_terminal(tmp_path):
    stream = io.StringIO()
    with MetricsLog(tmp_path, 100, tensorboard=False, stream=stream) as log:
        log.progress(10, loss=1.0, health="collapsed")
        log.progress(20, loss=0.9, health="healthy")
        logging.getLogger("ssl_jax").warning("a record could not be read")
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert [line.split(" ")[0] for line in lines] == ["step", "step", "warning:"]


def test_one_line_in_place_on_a_terminal_with_messages_above_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with MetricsLog(tmp_path, 100, tensorboard=False, stream=stream) as log:
        log.progress(10, health="healthy")
        logging.getLogger("ssl_jax").warning("look here")
        log.progress(20, health="healthy")
    text = stream.getvalue()
    assert text.count("\n") == 2  # the warning, and the end
    assert "\r\x1b[2Kwarning: look here\nstep 10/100" in text
    assert "\x1b[32mhealthy\x1b[0m" in text


@pytest.mark.parametrize(("name", "value", "in_place"), [("NO_COLOR", "1", True), ("TERM", "dumb", False)])
def test_no_colour_is_respected(tmp_path, monkeypatch, name, value, in_place):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    stream = Terminal()
    with MetricsLog(tmp_path, 100, tensorboard=False, stream=stream) as log:
        log.progress(10, health="collapsed")
    assert "\x1b[31m" not in stream.getvalue()
    assert ("\x1b[2K" in stream.getvalue()) == in_place
    assert "collapsed" in stream.getvalue()


def test_a_terminal_that_goes_away_does_not_stop_training(tmp_path):
    stream = io.StringIO()
    with MetricsLog(tmp_path, 100, tensorboard=False, stream=stream) as log:
        stream.close()
        log.progress(10, loss=1.0)
        log.write(10, loss=1.0)
    assert len(read_metrics(tmp_path)) == 1


def test_train_log_has_the_same_lines_with_the_time(quiet, tmp_path):
    quiet.progress(10, loss=1.0)
    logging.getLogger("ssl_jax.data").warning("2 records could not be read")
    first, second = (tmp_path / "train.log").read_text().splitlines()
    assert first.endswith("INFO step 10/100 10% | loss 1 | ETA ? | no checkpoint yet")
    assert second.endswith("WARNING 2 records could not be read")


def test_a_closed_log_leaves_the_logger_as_it_was(tmp_path):
    before = (list(logger.handlers), logger.level)
    with MetricsLog(tmp_path, 1, tensorboard=False, stream=io.StringIO()):
        pass
    assert (logger.handlers, logger.level) == before


def test_inside_an_open_run_directory_nothing_is_told_twice(tmp_path):
    stream = io.StringIO()
    with messages(tmp_path, stream):
        logger.info("before")
        with MetricsLog(tmp_path, 100, tensorboard=False) as log:
            log.progress(10)
        logger.warning("after")
        logger.error("for the file", extra={"shown": False})
    assert stream.getvalue() == "before\nstep 10/100 10% | ETA ? | no checkpoint yet\nwarning: after\n"
    assert [line.split(" ", 3)[3] for line in (tmp_path / "train.log").read_text().splitlines()] == [
        "before", "step 10/100 10% | ETA ? | no checkpoint yet", "after", "for the file",
    ]  # fmt: skip


# --- TensorBoard


def test_numbers_reach_tensorboard(tmp_path):
    with MetricsLog(tmp_path, 100, stream=io.StringIO()) as log:
        log.write(1, loss=1.0, health="healthy", norm=float("nan"))
    (events,) = (tmp_path / "tb").iterdir()
    assert b"loss" in events.read_bytes()
    assert b"healthy" not in events.read_bytes()


def test_tensorboard_is_told_of_the_step_resumed_from(tmp_path, monkeypatch):
    import tensorboardX

    boards = []

    class Board:
        def __init__(self, folder, **options):
            boards.append(options)

        def add_scalar(self, *args):
            boards.append(args)

        def close(self):
            boards.append("closed")

    monkeypatch.setattr(tensorboardX, "SummaryWriter", Board)
    with MetricsLog(tmp_path, 100, stream=io.StringIO()) as log:
        log.cut_back(10)
        log.write(11, loss=1.0)
    assert boards == [{"purge_step": 11}, ("loss", 1.0, 11), "closed"]


@pytest.mark.parametrize("failing", ["open", "add", "close", "missing"])
def test_a_failing_tensorboard_never_stops_training(tmp_path, monkeypatch, failing):
    import tensorboardX

    class Board:
        def __init__(self, folder, **options):
            if failing == "open":
                raise OSError("disk gone")

        def add_scalar(self, *args):
            if failing == "add":
                raise RuntimeError("disk gone")

        def close(self):
            if failing == "close":
                raise RuntimeError("disk gone")

    monkeypatch.setattr(tensorboardX, "SummaryWriter", Board)
    if failing == "missing":
        monkeypatch.setitem(sys.modules, "tensorboardX", None)
    stream = io.StringIO()
    with MetricsLog(tmp_path, 100, stream=stream) as log:
        log.write(1, loss=1.0, lr=0.1)
        log.write(2, loss=0.9, lr=0.1)
    assert len(read_metrics(tmp_path)) == 2
    if failing in ("open", "add"):
        assert stream.getvalue() == "warning: TensorBoard stopped (disk gone); metrics.jsonl still has every number\n"
