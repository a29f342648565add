"""Lists of pictures: text files and tables, as people and their programs write them."""

import csv

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.sources import FileList, Labelled
from ssl_jax.errors import UserError

NAMES = ("a b.png", "deep/c,d.png", 'e".png')


@pytest.fixture
def root(tmp_path):
    (tmp_path / "deep").mkdir()
    for i, name in enumerate(NAMES):
        Image.new("L", (9, 9), 50 + i).save(tmp_path / name)
    return tmp_path


def table(root, name, rows, dialect="excel"):
    with (root / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, dialect).writerows(rows)
    return root / name


def tsv(root):
    return table(root, "t.tsv", zip(("path", *NAMES), ("label", *"aba"), strict=True), "excel-tab")


def text(root, content):
    (root / "files.txt").write_bytes(content.encode())
    return root / "files.txt"


def test_a_list_gives_its_pictures_in_its_order_without_labels(root):
    source = FileList(text(root, "\n".join(NAMES[::-1])), size=8)
    assert [source.name_of(i) for i in range(3)] == list(NAMES[::-1])
    assert [int(source[i]["image"].mean()) for i in range(3)] == [52, 51, 50]
    assert (set(source[0]), source.values("label"), source.classes) == ({"image"}, None, ())


@pytest.mark.parametrize(
    ("write", "labels", "classes"),
    [
        (lambda root: text(root, f"\ufeff{NAMES[0]}\tdog\r\n{NAMES[1]}\tcat\r\n\r\n{NAMES[2]}\r\n"), [1, 0, -1], ("cat", "dog")),
        (lambda root: text(root, f"{NAMES[0]}\t7\n{NAMES[1]}\t0\n{NAMES[2]}\t-1\n"), [7, 0, -1], ()),
        (lambda root: table(root, "t.csv", [("label", "path"), *zip("020", NAMES, strict=True)]), [0, 2, 0], ()),
        (tsv, [0, 1, 0], ("a", "b")),
    ],
)  # fmt: skip
def test_labels_are_numbers_or_names_and_minus_one_where_there_is_none(root, write, labels, classes):
    source = FileList(write(root), size=8)
    assert source.values("label").tolist() == [int(source[i]["label"]) for i in range(3)] == labels
    assert source[0]["label"].dtype == np.int32
    assert source.classes == classes
    assert Labelled(source).ids.tolist() == [i for i, label in enumerate(labels) if label >= 0]


def test_classes_can_be_given_and_paths_start_where_that_is_said(root):
    lists = root / "lists"
    lists.mkdir()
    file = text(lists, f"{NAMES[0]}\tdog\n")
    source = FileList(file, size=8, root=root, class_names=("cat", "cow", "dog"))
    assert (int(source[0]["label"]), int(source[0]["image"].mean())) == (2, 50)
    with pytest.raises(UserError, match="the label 'dog', which is none of the classes cat"):
        FileList(file, size=8, root=root, class_names=("cat",))


def test_the_fingerprint_changes_with_a_path_a_label_or_a_file(root):
    prints = [FileList(text(root, f"{NAMES[0]}\t{label}\n"), size=8).fingerprint() for label in (0, 1)]
    prints.append(FileList(text(root, f"{NAMES[1]}\t1\n"), size=8).fingerprint())
    Image.new("L", (9, 9), 99).save(root / NAMES[1])
    prints.append(FileList(text(root, f"{NAMES[1]}\t1\n"), size=8).fingerprint())
    assert len(set(prints)) == 4


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.txt", None, "no list at .*none.txt.*No such file"),
        ("a.txt", "\n\n", "names no pictures"),
        ("a.txt", "x.png\t1\ny.png\tcat", "labels that are numbers, and 'cat'"),
        ("a.txt", "x.png\t2147483648", "the label '2147483648'; labels are from 0"),
        ("a.txt", "x.png\t-7", "the label '-7'; labels are from 0"),
        ("a.csv", "file,label\nx.png,1", "begins with file, label; its first line names the columns"),
        ("a.csv", "", "begins with nothing"),
        ("a.csv", 'path\n"' + "x" * 200_000, "is no table"),
    ],
)
def test_lists_that_are_none_are_refused(root, name, content, told):
    if content is not None:
        (root / name).write_text(content)
    with pytest.raises(UserError, match=told):
        FileList(root / name, size=8)


def test_a_line_that_names_no_picture_is_a_bad_record(root):
    source = FileList(text(root, "deep\nnowhere.png\n/dev/zero\n"), size=8)
    for i, told in enumerate(["a folder", "No such file", "a device"]):
        with pytest.raises((ValueError, OSError), match=told):
            source[i]
