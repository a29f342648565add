"""metrics.jsonl loses nothing without a copy, and tells what is missing."""

import os

import pytest

from ssl_jax.rundir.lines import Lines
from ssl_jax.rundir.metrics import cut_back, from_line, gaps, heal, read_metrics, remove_redone, to_line


def text(*steps, **more):
    return "".join(to_line(step, {"loss": step / 3, "examples_per_s": float(step)} | more) for step in steps)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(text(*range(1, 6)))
    return tmp_path / "metrics.jsonl"


def copies(file):
    return sorted(p.name for p in file.parent.glob("metrics.jsonl.before-*"))


@pytest.mark.parametrize(("step", "usual", "kept", "loud"), [(3, 3, 3, False), (3, 2, 3, True), (-1, 3, 0, True)])
def test_what_is_cut_is_told_and_copied(file, caplog, step, usual, kept, loud):
    before = file.read_bytes()
    with caplog.at_level("INFO", "ssl_jax"):
        cut_back(file, step, usual)
    assert len(read_metrics(file)) == kept
    (copy,) = copies(file)
    assert (file.parent / copy).read_bytes() == before
    assert copy.endswith("-until-redone") != loud


def test_a_cut_of_nothing_makes_no_copy(file):
    cut_back(file, 5)
    assert copies(file) == []
    cut_back(file.with_name("none.jsonl"), -1)


def test_the_copy_of_what_a_kill_cost_goes_when_it_was_done_again(file):
    cut_back(file, 3, usual=8)
    with file.open("a") as f:
        f.write(text(4, examples_per_s=7.0))  # another speed is no difference
    remove_redone(file)
    assert len(copies(file)) == 1
    with file.open("a") as f:
        f.write(text(5))
    remove_redone(file)
    assert copies(file) == []


def test_a_copy_with_other_numbers_stays(file):
    cut_back(file, 3, usual=8)
    with file.open("a") as f:
        f.write(text(4, 5, loss=9.0))
    remove_redone(file)
    assert len(copies(file)) == 1


DAMAGE = {
    "torn in the middle": (text(1, 2)[:-9] + "\n" + text(3), [1, 3]),
    "there twice": (text(1, 2) + text(2, loss=9.0) + text(3), [1, 2, 3]),
    "nested 100,000 deep": (text(1) + "[" * 100_000 + "\n" + text(2), [1, 2]),
    "no number": (text(1) + '{"step": 2, "loss": [1]}\n' + '{"step": true}\n' + text(2), [1, 2]),
    "a number beyond 64 bits": (text(1) + '{"step": 1' + "0" * 400 + "}\n", [1]),
    "not UTF-8": (text(1) + "\udcff\udcfe\n" + text(2), [1, 2]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_lines_that_are_damaged_or_doubled_are_taken_out_with_a_copy(tmp_path, damage):
    content, kept = DAMAGE[damage]
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(content.encode(errors="surrogateescape"))
    heal(file)
    assert [record["step"] for record in read_metrics(file)] == kept
    assert len(copies(file)) == 1
    heal(file)
    assert len(copies(file)) == 1


def test_a_last_line_that_a_crash_cut_short_needs_no_copy(file):
    with file.open("a") as f:
        f.write('{"step": 6, "lo')
    heal(file)
    assert file.read_text() == text(*range(1, 6))
    assert copies(file) == []


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ((1, 2, 3, 7, 8), [(3, 7)]),
        ((9, 10, 11), [(0, 9)]),
        ((10, 20, 30, 37), []),
        ((10, 20, 50, 100, 150), []),  # another log.every after a resume
        ((50, 100, 110, 120), []),
        ((5,), []),
        ((), []),
    ],
)
def test_gaps_are_steps_farther_apart_than_their_neighbours(steps, found):
    assert gaps(steps) == found


def test_a_check_and_a_step_are_two_lines(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text(text(4) + to_line(4, {"health": "healthy"}))
    heal(file)
    assert len(read_metrics(file)) == 2


# --- while they are written


def replaced(path):
    path.with_name("edited").write_text("of somebody else\n")
    path.with_name("edited").rename(path)


@pytest.mark.parametrize("harm", [os.unlink, lambda path: path.rename(path.with_name("old")), replaced])
def test_a_file_that_is_deleted_moved_or_replaced_is_put_back(tmp_path, harm):
    lines = Lines(tmp_path / "metrics.jsonl")
    for line in ("1\n", "2\n"):
        lines.append(line)
    harm(tmp_path / "metrics.jsonl")
    lines.append("3\n")
    lines.append("4\n")
    lines.close()
    assert (tmp_path / "metrics.jsonl").read_text() == "1\n2\n3\n4\n"
    kept = [p.read_text() for p in tmp_path.glob("metrics.jsonl.before-*")]
    assert kept == (["of somebody else\n"] if harm is replaced else [])


def test_lines_go_where_the_directory_goes(tmp_path):
    (tmp_path / "run").mkdir()
    lines = Lines(tmp_path / "run" / "metrics.jsonl")
    lines.append("1\n")
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "run").mkdir()
    lines.append("2\n")
    lines.close()
    lines.append("3\n")
    assert (tmp_path / "moved" / "metrics.jsonl").read_text() == "1\n2\n3\n"
    assert not list((tmp_path / "run").iterdir())


def test_a_file_that_is_cut_from_outside_is_told(tmp_path, caplog):
    lines = Lines(tmp_path / "metrics.jsonl")
    lines.append("1\n")
    os.truncate(tmp_path / "metrics.jsonl", 0)
    lines.append("2\n")
    assert (tmp_path / "metrics.jsonl").read_text() == "2\n"
    assert "was cut from outside: 2 bytes of it are lost" in caplog.text


def test_a_line_says_what_it_said():
    assert from_line(to_line(3, {"loss": float("inf"), "health": "healthy"})) == {
        "step": 3, "loss": float("inf"), "health": "healthy",
    }  # fmt: skip
