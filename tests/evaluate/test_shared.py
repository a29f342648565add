"""A test set that is not new is told: the same data twice, or some of its records."""

import numpy as np
from PIL import Image

from ssl_jax.data.sources import Arrays, ImageFolder, Subset
from ssl_jax.evaluate.run import with_marks
from ssl_jax.evaluate.shared import marks, shared

IMAGES = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 1)).astype(np.uint8)


def arrays(start, stop, label=0):
    return Arrays({"image": IMAGES[start:stop], "label": np.full(stop - start, label)})


def test_records_are_the_same_by_their_content_whatever_their_labels():
    assert shared(arrays(5, 12), arrays(0, 7, label=1)).tolist() == [0, 1]
    assert marks(arrays(5, 12), {"probe split": arrays(0, 7)}) == ("2 of 7 test records are also in the probe split",)
    assert marks(arrays(0, 7), {"probe split": arrays(7, 20)}) == ()


def test_one_set_for_both_is_known_by_its_fingerprint_where_the_data_is_not_here():
    test = arrays(0, 5)
    assert marks(test, {"probe split": arrays(0, 5)}) == ("the test records are the probe split (one fingerprint)",)
    told = marks(test, {"probe split": arrays(5, 9)}, test.fingerprint())
    assert told == ("the test records are the pretraining data (one fingerprint)",)


def test_files_are_compared_by_content_under_other_names_and_sizes(tmp_path):
    for name, numbers in {"a": range(6), "b": range(4, 9)}.items():
        (tmp_path / name).mkdir()
        for n in numbers:
            Image.fromarray(IMAGES[n, :, :, 0]).save(tmp_path / name / f"{name}{9 - n}.png")
    a, b = ImageFolder(tmp_path / "a", size=8), ImageFolder(tmp_path / "b", size=16)
    assert [b.name_of(i) for i in shared(b, a)] == ["b4.png", "b5.png"]
    assert len(shared(Subset(b, 0.0, 0.5), Subset(b, 0.5, 1.0))) == 0
    assert len(shared(b, arrays(0, 5))) == 0, "files and arrays are not compared"


def test_a_mark_goes_into_every_protocol_and_the_notes():
    results = {"protocol": {"linear": "L-BFGS", "knn": "k=20"}, "notes": ["few"]}
    marked = with_marks(results, ("2 of 7 test records are also in the probe split",))
    assert marked["protocol"]["knn"] == "k=20; MARKED: 2 of 7 test records are also in the probe split"
    assert marked["notes"] == ["few", "2 of 7 test records are also in the probe split"]
    assert with_marks(results, ()) == results
