"""Prepared TFDS data is read without TensorFlow and without the network."""

import functools
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.sources import FashionMNIST, Tfds, idx
from ssl_jax.errors import UserError

COUNTS = {"train": 12, "test": 4}


def png(i):
    """A picture of its own size in its own grey."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((28 + i % 3, 28), i, np.uint8)).save(buffer, "PNG")
    buffer.seek(0)
    return buffer


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Two small data sets: `fashion_mnist` of 28x28 pictures and `odd_sizes`, which also has tokens."""
    import tensorflow_datasets as tfds

    def info(builder, shape):
        features = {
            "image": tfds.features.Image(shape=shape),
            "label": tfds.features.ClassLabel(names=["dog", "cat"]),
            "ids": tfds.features.Tensor(shape=(2,), dtype=np.int64),
        }
        return tfds.core.DatasetInfo(builder=builder, features=tfds.features.FeaturesDict(features))

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.0.1")
        url_infos = None  # nothing is downloaded; looking for checksum files would need an installed package

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(count) for split, count in COUNTS.items()}

    class FashionMnist(Builder, skip_registration=True):
        def _info(self):
            return info(self, (28, 28, 1))

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"image": png(3 * i), "label": i % 2, "ids": [i, i]}

    class OddSizes(Builder, skip_registration=True):
        def _info(self):
            return info(self, (None, None, 1))

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"image": png(i), "label": i % 2, "ids": [i, 2 * i]}

    folder = tmp_path_factory.mktemp("tfds")
    for builder in (FashionMnist, OddSizes):
        builder(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return str(folder)


def test_records_are_numpy_with_an_int32_label_and_class_names(data_dir):
    source = Tfds("fashion_mnist", "train", data_dir)
    assert len(source) == 12
    assert Tfds("odd_sizes", "train", data_dir).classes == ("dog", "cat")
    record = source[3]
    assert set(record) == {"image", "label"}
    assert record["image"].shape == (28, 28, 1)
    assert record["image"].dtype == np.uint8
    assert record["label"].dtype == np.int32
    assert record["label"] == record["image"][0, 0, 0] // 3 % 2
    assert "tensorflow" not in sys.modules


def test_pictures_of_different_sizes_are_brought_to_one(data_dir):
    source = Tfds("odd_sizes", "train[:50%]", data_dir, size=16, channels=3)
    assert len(source) == 6
    assert {source[i]["image"].shape for i in range(6)} == {(16, 16, 3)}


def test_records_need_no_image_and_no_label(data_dir):
    source = Tfds("odd_sizes", "test", data_dir, image_key=None, label_key=None, fields={"tokens": "ids"})
    assert source.classes == ()
    for record in (source[i] for i in range(4)):
        assert set(record) == {"tokens"}
        assert record["tokens"][1] == 2 * record["tokens"][0]


def test_fingerprint_changes_with_the_data_set_the_split_and_the_options(data_dir):
    prints = [
        Tfds(name, split, data_dir, size=size).fingerprint()
        for name, split, size in [
            ("fashion_mnist", "train", None),
            ("fashion_mnist", "train[:50%]", None),
            ("fashion_mnist", "test", None),
            ("fashion_mnist", "train", 8),
            ("odd_sizes", "train", 8),
        ]
    ]
    assert len(set(prints)) == 5
    assert prints[0] == Tfds("fashion_mnist", "train", data_dir).fingerprint()


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("mnist", "train", {}, r"TFDS 'mnist' .* cannot be read.*file_format='array_record'"),
        ("no_such_set", "train", {}, r"TFDS 'no_such_set' .* cannot be read"),
        ("fashion_mnist", "valid", {}, r"Unknown split 'valid'"),
        (
            "fashion_mnist",
            "train",
            {"image_key": "picture"},
            r"no feature 'picture'; it has image",
        ),
        ("fashion_mnist", "train", {"image_key": None, "label_key": None}, r"no feature None"),
    ],
)
def test_what_is_not_prepared_or_not_there_is_refused(data_dir, name, split, options, message):
    with pytest.raises(UserError, match=message):
        Tfds(name, split, data_dir, **options)


@pytest.mark.parametrize(
    "name", ["huggingface:mnist", "mnist/a=True,data_dir=/x", "../mnist", "FashionMnist", "a" * 9 + ":b"]
)
def test_a_name_that_would_run_other_code_is_refused(name):
    with pytest.raises(UserError, match="write name, name/config or"):
        Tfds(name, "train")


@pytest.mark.parametrize(
    "content",
    [
        {"pythonClassName": "antigravity.X"},
        {"featuresDict": {"features": {"image": {"python_class_name": "antigravity.X"}}}},
        {
            "type": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "content": {"a": {"type": "antigravity.X"}},
        },
        {"json": json.dumps({"a": {"type": "antigravity.X"}})},
    ],
)
def test_a_data_set_that_names_foreign_classes_is_refused_before_they_are_imported(tmp_path, content):
    (tmp_path / "odd_one" / "1.0.0").mkdir(parents=True)
    (tmp_path / "odd_one" / "1.0.0" / "features.json").write_text(json.dumps(content).replace("Class", "\\u0043lass"))
    with pytest.raises(UserError, match=r"names the class 'antigravity\.X'; only features of"):
        Tfds("odd_one", "train", str(tmp_path))
    assert "antigravity" not in sys.modules


def test_fashion_mnist_falls_back_to_prepared_tfds(data_dir, tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_JAX_FASHION_MNIST", raising=False)
    monkeypatch.setattr(idx, "FASHION_MNIST_ROOT", str(tmp_path))
    monkeypatch.setattr(idx, "Tfds", functools.partial(Tfds, data_dir=data_dir))
    assert len(FashionMNIST("pretrain")) == 12
    assert len(FashionMNIST("test")) == 4
    assert FashionMNIST("train", limit=5)[4]["image"].shape == (28, 28, 1)
    with pytest.raises(UserError, match="no Fashion-MNIST IDX files"):
        FashionMNIST("train", root=str(tmp_path))
