"""What is written in a run directory is written there: beside and in place, through no link, or elsewhere and told."""

import os
import subprocess

import pytest

from ssl_jax.errors import UserError
from ssl_jax.rundir.place import held
from ssl_jax.rundir.workdir import open_workdir
from ssl_jax.rundir.writing import own_folder, replace_file, replacing, written

CONFIG = {"seed": 0}
PRECIOUS = "of somebody else\n"


@pytest.fixture
def precious(tmp_path):
    (tmp_path / "precious").write_text(PRECIOUS)
    return tmp_path / "precious"


def started(path) -> str:
    """What a start in `path` says when it is refused, or "" when it is not."""
    try:
        with open_workdir(path, CONFIG):
            return ""
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("name", ["LOCK", "metrics.jsonl", "train.log", "train.3.log", "bad_records.jsonl"])
@pytest.mark.parametrize(
    ("make", "called"),
    [
        (lambda path, target: path.symlink_to(target), "a link"),
        (lambda path, target: path.symlink_to(target.with_name("nothing")), "a link"),
        (lambda path, target: path.mkdir(), "a folder"),
        (lambda path, target: os.mkfifo(path), "a FIFO"),
    ],
)
def test_what_a_run_appends_to_is_a_file_of_its_own(tmp_path, precious, name, make, called):
    (tmp_path / "run").mkdir()
    make(tmp_path / "run" / name, precious)
    assert f"{name} is {called}" in started(tmp_path / "run")
    assert precious.read_text() == PRECIOUS
    assert [p.name for p in (tmp_path / "run").iterdir()] == [name]
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["config.json", "env.json"])
def test_a_folder_or_a_fifo_is_no_file_to_replace(tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    assert f"{name} is a folder" in started(tmp_path / "run")
    (tmp_path / "run" / name).rmdir()
    os.mkfifo(tmp_path / "run" / name)
    assert f"{name} is a FIFO" in started(tmp_path / "run")


def test_a_link_that_is_replaced_leaves_what_it_led_to(tmp_path, precious):
    for name in ("report.html", ".report.html." + str(os.getpid())):
        (tmp_path / name).symlink_to(precious)
    replace_file(tmp_path / "report.html", "new")
    assert precious.read_text() == PRECIOUS
    assert (tmp_path / "report.html").read_text() == "new"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "env.json").symlink_to(precious)
    assert started(tmp_path / "run") == ""
    assert precious.read_text() == PRECIOUS


def test_a_copy_made_of_hard_links_is_written_apart(tmp_path):
    run, copy = tmp_path / "run", tmp_path / "copy"
    run.mkdir()
    (run / "train.log").write_text("first\n")
    subprocess.run(["cp", "-al", run, copy], check=True)
    with open_workdir(copy, CONFIG):
        pass
    assert (run / "train.log").read_text() == "first\n"
    assert (copy / "train.log").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["eval", "samples", "tb"])
def test_a_folder_that_is_a_link_is_not_followed(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="which is not followed"):
        own_folder(tmp_path / name)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside(tmp_path):
    replace_file(tmp_path / "a", "old")
    with pytest.raises(TypeError), replacing(tmp_path / "a") as file:
        file.write("no bytes")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_what_cannot_be_written_here_is_written_elsewhere_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "eval").write_text("")

    def write(folder):
        replace_file(own_folder(folder / "eval") / "linear.json", "{}")

    with pytest.raises(UserError, match="--out FOLDER") as caught:
        written(write, tmp_path / "run")
    (elsewhere,) = tmp_path.glob("ssl-jax-*")
    assert str(elsewhere) in str(caught.value)
    assert (elsewhere / "eval" / "linear.json").read_text() == "{}"
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="Nothing was written"):
        written(write, tmp_path / "run")


def test_a_place_knows_when_it_was_moved_replaced_or_is_away(tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    with held(run) as place:
        place.check()
        run.rename(elsewhere)
        with pytest.raises(UserError, match=f"was moved to {elsewhere}"):
            place.check()
        run.mkdir()
        with pytest.raises(UserError, match="nothing more is written"):
            place.check()
        elsewhere.rmdir()
        with pytest.raises(UserError, match="another directory than the one"):
            place.check()
        run.rmdir()
        place.check()  # storage that is away may come back


def test_what_a_killed_run_left_half_written_goes(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / f".metrics.jsonl.{ended.pid}").write_text("")
    (tmp_path / f".notes.{ended.pid}").write_text("mine")
    assert started(tmp_path) == ""
    assert {p.name for p in tmp_path.iterdir() if p.name.startswith(".")} == {f".notes.{ended.pid}"}
