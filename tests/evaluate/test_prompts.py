"""Classes by their names: known answers, the wording of prompts, several labels, and refusals."""

import json

import numpy as np
import pytest

from ssl_jax.errors import UserError
from ssl_jax.evaluate.features import Features, Split
from ssl_jax.evaluate.instruments import probes_of
from ssl_jax.evaluate.probes import gap, pairs, zeroshot, zeroshot_multilabel
from ssl_jax.evaluate.prompts import class_vectors, prompts_of

NAMES = ("red shoe", "blue_bag", "hat")
AXES = np.eye(3, 5)


def read(texts):
    """Each class has an axis; a sentence that begins with "no" points at the next one, and is long."""
    found = [next(i for i, name in enumerate(NAMES) if name.replace("_", " ") in text) for text in texts]
    return np.array(
        [5 * AXES[(i + 1) % 3] if text.startswith("no") else AXES[i] for i, text in zip(found, texts, strict=True)]
    )


LABELS = np.array([0, 1, 2, 1, 0, 0], np.int32)
TEST = Features((AXES[LABELS] + 0.1).astype(np.float32), LABELS, np.arange(6))
SPLIT = Split(TEST, TEST, 3, names=NAMES, read={"text_embedding": read})


def test_records_are_of_the_class_whose_sentences_are_nearest():
    found = zeroshot.Probe(templates=("a {}", "the {}", "no {}")).run(SPLIT)
    assert found["accuracy"] == 1.0  # two of three sentences are right, and the long one counts no more than they
    assert found["each"] == {"0": 1.0, "1": 1.0, "2": 0.0}
    assert (found["single"], found["single_std"]) == (pytest.approx(2 / 3), pytest.approx(np.std([1, 1, 0])))
    assert found["chance"] == 0.5
    np.testing.assert_array_equal(found["records"]["predicted"], LABELS)
    assert found["top5"] == 1.0


def test_each_class_may_have_sentences_of_its_own(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(
        json.dumps({"red shoe": ["a red shoe", "red shoe on foot"], "blue_bag": ["blue bag"], "hat": ["no hat"]})
    )
    found = zeroshot.Probe(prompts=str(path)).run(SPLIT)
    assert found["accuracy"] == pytest.approx(
        5 / 6
    )  # "no hat" points at shoes, and the hat is nearest to nothing of its own
    assert found["each"] == {}
    for text, said in (
        ("{}", "no prompts for the class 'red shoe'"),
        ("[1]", r"has to be \{class"),
        ('{"red shoe": [" "]}', "without empty sentences"),
        ("{", "write a JSON file"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            zeroshot.Probe(prompts=str(path)).run(SPLIT)


def test_what_cannot_be_asked_is_refused():
    for probe, split, said in (
        (zeroshot.Probe(), Split(TEST, TEST, 3, read=SPLIT.read), "3 classes, and names for 0"),
        (zeroshot.Probe(templates=("a shoe",)), SPLIT, "0 places for a name"),
        (zeroshot.Probe(reader="student"), SPLIT, "no such encoder of texts; use text_embedding"),
        (zeroshot_multilabel.Probe(names=("one",)), several(), "has 1 names, and evaluate.target 3 labels"),
    ):
        with pytest.raises(UserError, match=said):
            probe.run(split)
    assert prompts_of(["x"], ["{} {{}}"[:2]]) == {"x": ("x",)}


def several():
    marks = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1]], np.float32)
    test = Features((marks @ AXES + 0.05).astype(np.float32), None, np.arange(4), marks)
    return Split(test, test, 0, read={"text_embedding": read})


def test_several_labels_are_ranked_each_on_its_own():
    found = zeroshot_multilabel.Probe(names=NAMES).run(several())
    assert found["map"] == found["auroc"] == 1.0
    assert set(found["each"]) == set(NAMES)
    assert found["chance"] == 0.5


def test_partners_and_modalities_are_told_apart_by_distance():
    x = np.eye(4, dtype=np.float32)
    towers = lambda y: {  # noqa: E731
        "image_embedding": Split(Features(x, None, np.arange(4)), Features(x, None, np.arange(4)), 0),
        "text_embedding": Split(Features(y, None, np.arange(4)), Features(y, None, np.arange(4)), 0),
    }
    near = gap.Probe().run(Split(TEST, TEST, 0, towers=towers(3 * x)))
    assert (near["alignment"], near["gap"], near["strangers"]) == (0.0, 0.0, 2.0)
    far = gap.Probe().run(Split(TEST, TEST, 0, towers=towers(-x)))
    assert (far["alignment"], far["gap"]) == (pytest.approx(4), pytest.approx(2 * np.linalg.norm(x.mean(0))))
    with pytest.raises(UserError, match="name those of the shared space"):
        gap.Probe().run(Split(TEST, TEST, 0, towers=towers(x[:, :2])))


def test_retrieval_is_told_for_every_language():
    x = np.eye(4, dtype=np.float32)
    fields = {"language": np.array([0, 0, 1, 1])}
    parts = {"image": x, "text": x[[0, 1, 3, 2]]}  # those of the second language are exchanged
    towers = {
        n: Split(Features(z, None, np.arange(4)), Features(z, None, np.arange(4), None, fields), 0)
        for n, z in parts.items()
    }
    found = pairs.Probe(ks=(1,), group="language").run(Split(TEST, TEST, 0, towers=towers))
    assert found["image_to_text_recall_1"] == 0.5
    assert {g: each["text_to_image"]["recall_1"] for g, each in found["groups"].items()} == {"0": 1.0, "1": 0.0}


def test_a_class_is_the_mean_of_directions():
    prompts = np.array([[[3.0, 0.0], [0.0, 0.1]], [[1.0, 0.0], [1.0, 0.0]]])
    np.testing.assert_allclose(class_vectors(prompts), [[0.5**0.5, 0.5**0.5], [1, 0]])
    assert probes_of(("zeroshot",), {})["zeroshot"].asks == ("text_embedding",)
