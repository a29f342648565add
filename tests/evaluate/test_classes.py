"""Splits that number the same classes differently, and labels that are not there."""

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.sources import Arrays, FileList, ImageFolder, Subset
from ssl_jax.errors import UserError
from ssl_jax.evaluate.baselines import Rows
from ssl_jax.evaluate.classes import class_names, labelled, labels_of, numbered_alike
from ssl_jax.evaluate.suite import Settings, evaluate

ABC = ("a", "b", "c")


def named(classes, labels=(0, 1, 1)):
    return Arrays({"x": np.arange(len(labels)), "label": np.array(labels)}, classes=classes)


@pytest.mark.parametrize("wrap", [lambda s: s, Subset, lambda s: Rows(s, np.arange(len(s)))])
@pytest.mark.parametrize(
    ("classes", "numbers"), [(("b", "c"), [1, 2, 2]), (("c", "a"), [2, 0, 0]), (ABC, [0, 1, 1]), ((), [0, 1, 1])]
)
def test_classes_are_numbered_by_their_names(wrap, classes, numbers):
    found = numbered_alike(named(ABC), wrap(named(classes)))
    assert [int(found[i]["label"]) for i in range(3)] == numbers
    assert found.batch(np.arange(3))["label"].tolist() == numbers
    assert labels_of(found).tolist() == numbers
    assert found.fingerprint() == wrap(named(classes)).fingerprint()
    assert class_names(found) == (ABC if classes else ())


@pytest.mark.parametrize(
    ("known", "own", "told"),
    [
        (ABC, ("b", "d"), "the test split has the class 'd', and the probe split has none of that name"),
        (ABC, ("A", "B"), "the class 'A' and 1 more"),
        (("a", "a", "b"), ("a", "b"), "the probe split has two classes named 'a'"),
    ],
)
def test_classes_that_cannot_be_matched_are_refused(known, own, told):
    with pytest.raises(UserError, match=told):
        numbered_alike(named(known, (0, 1, 1)), named(own))


def test_a_label_field_of_several_is_matched_by_its_own_names():
    train, test = named(()), named(())
    object.__setattr__(train, "labels", {"label": (), "x": ABC})
    object.__setattr__(test, "labels", {"label": (), "x": ("c", "b", "a")})
    found = numbered_alike(train, test, "x")
    assert [int(found[i]["x"]) for i in range(3)] == [2, 1, 0]
    assert [int(found[i]["label"]) for i in range(3)] == [0, 1, 1]


def test_folders_without_the_first_class_are_scored_as_if_it_were_there(tmp_path):
    """Probe folders a, b, c and test folders b, c: without names, b would be taken for a."""
    for split, classes in (("probe", ABC), ("test", ABC[1:])):
        for name in classes:
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(3):
                Image.new("L", (8, 8), 20 + 80 * ABC.index(name) + number).save(
                    tmp_path / split / name / f"{number}.png"
                )
    probe, test = (ImageFolder(tmp_path / split, size=8, channels=1) for split in ("probe", "test"))
    found = numbered_alike(probe, Subset(test))
    assert [int(found[i]["label"]) for i in range(6)] == [1, 1, 1, 2, 2, 2]
    assert found.values("label").tolist() == [1, 1, 1, 2, 2, 2]


def test_every_row_sees_classes_of_one_numbering(encoder, variables, make_signals):
    names = ("n", "e", "s", "w")
    train, test = make_signals(60, 0, classes=4), make_signals(40, 1, classes=4).columns
    kept = test["label"] > 0
    test = {"signal": test["signal"][kept], "label": test["label"][kept]}
    settings = Settings(probes=("knn",), baselines=("raw",))
    train = Arrays(train.columns, classes=names)
    whole = evaluate({"x": (encoder, variables)}, train, Arrays(test, classes=names), settings)
    shifted = Arrays(test | {"label": test["label"] - 1}, classes=names[1:])
    assert evaluate({"x": (encoder, variables)}, train, shifted, settings)["rows"] == whole["rows"]


def test_records_without_a_label_are_left_out_where_a_source_lists_its_labels(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "0.png")
    (tmp_path / "files.txt").write_text("0.png\tdog\n0.png\n0.png\tcat\n")
    found = labelled(FileList(tmp_path / "files.txt", size=8))
    assert (found.ids.tolist(), labels_of(found).tolist(), found.classes) == ([0, 2], [1, 0], ("cat", "dog"))
    (tmp_path / "none.txt").write_text("0.png\t-1\n0.png\n")
    for whole in (FileList(tmp_path / "none.txt", size=8), named(ABC), ImageFolder(tmp_path, size=8)):
        assert labelled(whole) is whole
