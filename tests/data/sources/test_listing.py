"""Large folders are listed once, whatever their names hold, and what changed in them is noticed."""

import os

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data import kept
from ssl_jax.data.sources import ImageFolder, listing
from ssl_jax.data.sources import folder as folders
from ssl_jax.data.sources.names import Names
from ssl_jax.errors import UserError

HOSTILE = (
    "a b.png",
    "line\nfeed.png",
    "quote'\".png",
    "\u2028.png",
    "é.png",
    "e\u0301.png",
    "-rf.png",
    "%s{}.png",
    "\udcff.png",
)


@pytest.mark.parametrize("names", [(), ("",), ("a",), HOSTILE, ("", "x", "")])
def test_names_are_what_they_were(names):
    found = Names.of(names)
    assert tuple(found) == tuple(found[:]) == names
    assert found.is_sound()
    assert bytes(found.joined()) == "\n".join(names).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("blob", "ends"),
    [(b"ab\ncd\n", [2, 4]), (b"ab\ncd\n", [5, 2]), (b"ab\n", [-1]), (b"ab\n", []), (b"ab", [2]), (b"a\nb\n", [1, 9])],
)
def test_names_that_were_damaged_are_not_sound(blob, ends):
    assert not Names(np.frombuffer(blob, np.uint8), np.array(ends, np.int64)).is_sound()


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A folder that counts as large, and as changed long ago."""
    monkeypatch.setenv(kept.WHERE, str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "KEPT_FROM", 1)
    monkeypatch.setattr(listing, "_SETTLED", -3600.0)
    for c in "ab":
        (tmp_path / "root" / c / "deep").mkdir(parents=True)
        for name in (f"{c}/{c}.png", f"{c}/deep/{c}.png"):
            Image.new("L", (9, 9), 50).save(tmp_path / "root" / name)
    (tmp_path / "root/a/notes.txt").touch()
    return tmp_path / "root"


def walks(monkeypatch):
    """How often a folder was listed, from now on."""
    seen = []
    entries = folders._entries
    monkeypatch.setattr(folders, "_entries", lambda folder: seen.append(folder) or entries(folder))
    return seen


def test_the_second_start_lists_nothing_and_gives_the_same(large, monkeypatch):
    before, seen = ImageFolder(large, size=8), walks(monkeypatch)
    after = ImageFolder(large, size=8)
    assert not seen
    assert (after.paths, after.classes, after.notes) == (before.paths, before.classes, before.notes)
    assert after.values("label").tolist() == before.values("label").tolist() == [0, 0, 1, 1]
    assert after.fingerprint() == before.fingerprint()
    assert after.notes == ("left out 1 files that have no picture's suffix, 'a/notes.txt' first",)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a/deep/new.png").write_bytes((root / "a/a.png").read_bytes()),
        lambda root: (root / "b/b.png").unlink(),
        lambda root: (root / "b/b.png").rename(root / "b/c.png"),
        lambda root: (root / "b/deep").rename(root / "b/deeper"),
    ],
)
def test_what_was_added_removed_or_renamed_is_noticed_and_kept_again(large, change, monkeypatch):
    before = ImageFolder(large, size=8).paths
    change(large)
    for folder in (large, *large.rglob("*/")):  # as a program does that copies times
        os.utime(folder, (1e9, 1e9))
    changed = ImageFolder(large, size=8).paths
    assert changed != before
    assert ImageFolder(large, size=8).paths == changed
    seen = walks(monkeypatch)
    assert ImageFolder(large, size=8).paths == changed
    assert not seen


def test_a_folder_that_was_changed_a_moment_ago_is_listed_again(large, monkeypatch):
    """A change within the resolution of file times would not be seen."""
    monkeypatch.setattr(listing, "_SETTLED", 2.0)
    (large / "a/new.png").write_bytes((large / "a/a.png").read_bytes())
    ImageFolder(large, size=8)
    seen = walks(monkeypatch)
    ImageFolder(large, size=8)
    assert seen


def test_a_link_that_leads_elsewhere_now_is_noticed(large):
    other = large.parent / "other"
    other.mkdir()
    (other / "x.png").write_bytes((large / "a/a.png").read_bytes())
    (large / "c").symlink_to(other)
    assert ImageFolder(large, size=8).paths[-1] == "c/x.png"
    (other / "y.png").write_bytes((large / "a/a.png").read_bytes())
    assert ImageFolder(large, size=8).paths[-1] == "c/y.png"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", None])
def test_a_damaged_cache_is_as_if_it_were_not_there(large, content):
    paths = ImageFolder(large, size=8).paths
    (file,) = (large.parent / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    assert ImageFolder(large, size=8).paths == paths


def test_hostile_names_are_records_like_others(tmp_path):
    made = [name for name in HOSTILE if name != "\udcff.png"]
    for name in made:
        Image.new("L", (9, 9), 50).save(tmp_path / name, "PNG")
    source = ImageFolder(tmp_path, size=8)
    assert source.paths == tuple(sorted(made))
    assert all(source[i]["image"].mean() == 50 for i in range(len(source)))


def test_pictures_beside_folders_are_taken_without_labels_where_that_is_said(large):
    Image.new("L", (9, 9), 50).save(large / "z.png")
    with pytest.raises(UserError, match=r"both beside and inside folders.*labelled=False"):
        ImageFolder(large, size=8)
    source = ImageFolder(large, size=8, labelled=False)
    assert (len(source), source.classes, set(source[0])) == (5, (), {"image"})
