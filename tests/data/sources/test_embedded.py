"""The embedded data set: what is in it, and that the script rebuilds it."""

import gzip
import hashlib
import importlib.machinery
import importlib.resources
import importlib.util
import io
import lzma
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_jax.data.sources import Embedded
from ssl_jax.data.sources.idx import FASHION_MNIST_ROOT
from ssl_jax.errors import UserError

REPOSITORY = Path(__file__).parents[3]
SCRIPT = REPOSITORY / "tools/build_embedded_data"
PER_CLASS = {"pretrain": 20, "probe": 5, "test": 5}


@pytest.fixture(scope="module")
def script():
    loader = importlib.machinery.SourceFileLoader("build_embedded_data", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0))


@pytest.fixture
def tiny_idx(tmp_path):
    """Original-looking files of ten classes; every image is unlike every other."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 400), ("t10k", 80)):
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28)))
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", rng.permutation(np.arange(count) % 10))
    return tmp_path


@pytest.mark.parametrize(("split", "per_class"), [("pretrain", 2000), ("probe", 500), ("test", 500)])
def test_every_class_is_equally_frequent(split, per_class):
    source = Embedded(split=split)
    assert len(source) == 10 * per_class
    assert np.bincount(source.columns["label"]).tolist() == [per_class] * 10
    assert len(source.classes) == 10


def test_records_are_grey_28x28_uint8_with_an_int32_label():
    record = Embedded("test")[7]
    assert record["image"].shape == (28, 28, 1)
    assert record["image"].dtype == np.uint8
    assert record["label"].shape == ()
    assert record["label"].dtype == np.int32


def test_no_image_is_in_two_splits():
    images = [row.tobytes() for s in ("pretrain", "probe", "test") for row in Embedded(s).columns["image"]]
    assert len(set(images)) == len(images) == 30_000


def test_the_order_is_shuffled_so_that_a_limit_keeps_every_class():
    counts = np.bincount(Embedded("probe", limit=500).columns["label"], minlength=10)
    assert counts.sum() == 500
    assert counts.min() > 25
    assert counts.max() < 80


def test_pixels_are_the_original_ones():
    """Mean and deviation of the 60,000 training images are known to be 0.2860 and 0.3530 of 255."""
    images = Embedded("pretrain").columns["image"]
    assert images.mean() / 255 == pytest.approx(0.2860, abs=0.002)
    assert images.std() / 255 == pytest.approx(0.3530, abs=0.002)


def test_writing_into_a_record_does_not_change_the_data():
    source = Embedded("test")
    before = source.fingerprint()
    source[0]["image"][:] = 0
    source.batch(np.arange(3))["image"][:] = 0
    assert source.fingerprint() == before


def test_fingerprints_differ_between_splits_and_are_fixed():
    prints = {s: Embedded(s).fingerprint() for s in ("pretrain", "probe", "test")}
    assert len(set(prints.values())) == 3
    assert prints["test"] == Embedded("test").fingerprint() != Embedded("test", limit=10).fingerprint()
    assert prints["test"].startswith("fcf6eb3591c26055")


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match=r"'train' is not a split.*pretrain, probe, test"):
        Embedded("train")


def test_data_and_notice_are_in_the_package_and_below_12_megabytes():
    folder = importlib.resources.files("ssl_jax.data") / "fashion_mnist"
    sizes = {f.name: len(f.read_bytes()) for f in folder.iterdir()}
    assert set(sizes) == {"NOTICE", "fashion_mnist.npz.xz", "tokenizer.json"}  # of the descriptions of FashionCaptions
    assert sum(sizes.values()) < 12_000_000
    notice = " ".join((folder / "NOTICE").read_text().split())
    assert "Copyright (c) 2017 Zalando SE" in notice
    assert "shall be included in all copies" in notice


def test_the_shipped_file_is_the_one_that_the_script_wrote():
    """Byte for byte; what the script makes of the originals is compared by `tools/build_embedded_data --check`."""
    data = (importlib.resources.files("ssl_jax.data") / "fashion_mnist/fashion_mnist.npz.xz").read_bytes()
    assert hashlib.sha256(data).hexdigest() == "d4c815a366dea1729b508386e74873c95f7022e3fa9878fb8ce6e89fbf93f6d9"


def test_the_script_chooses_disjoint_balanced_splits_of_the_original_records(script, tiny_idx):
    with np.load(io.BytesIO(script.build(tiny_idx, PER_CLASS)), allow_pickle=False) as made:
        made = dict(made)
    for split, file in (("pretrain", "train"), ("probe", "train"), ("test", "t10k")):
        images = script.read_idx(tiny_idx / f"{file}-images-idx3-ubyte.gz")
        labels = script.read_idx(tiny_idx / f"{file}-labels-idx1-ubyte.gz")
        place = made[f"{split}_place"].astype(int)
        np.testing.assert_array_equal(made[f"{split}_image"], images[place])
        np.testing.assert_array_equal(made[f"{split}_label"], labels[place])
        assert np.bincount(made[f"{split}_label"]).tolist() == [PER_CLASS[split]] * 10
        assert len(set(place)) == len(place)
    assert not set(made["pretrain_place"]) & set(made["probe_place"])


def test_the_script_gives_the_same_bytes_every_time(script, tiny_idx):
    first = script.build(tiny_idx, PER_CLASS)
    assert first == script.build(tiny_idx, PER_CLASS)
    assert script.rank("choose train", 8).tolist() == [6, 1, 2, 5, 3, 7, 4, 0]


def test_the_script_writes_and_checks_a_file(script, tiny_idx, monkeypatch, capsys):
    monkeypatch.setattr(script, "PER_CLASS", PER_CLASS)
    monkeypatch.setattr(script.build, "__defaults__", (PER_CLASS,))
    out = tiny_idx / "out.npz.xz"
    arguments = ["--idx", str(tiny_idx), "--out", str(out)]
    assert script.main(arguments) == 0
    assert lzma.decompress(out.read_bytes()) == script.build(tiny_idx)
    assert script.main([*arguments, "--check"]) == 0
    out.write_bytes(b"other")
    assert script.main([*arguments, "--check"]) == 1
    assert "differs" in capsys.readouterr().out


@pytest.mark.slow
def test_rebuilding_from_the_originals_gives_the_shipped_file(script, capsys):
    """Compared byte for byte where the original files are; elsewhere the script must say so."""
    idx = os.environ.get("SSL_JAX_FASHION_MNIST") or FASHION_MNIST_ROOT
    there = (Path(idx) / "train-images-idx3-ubyte.gz").is_file()
    assert script.main(["--idx", idx, "--check"]) == (0 if there else 2)
    printed = capsys.readouterr()
    assert "as built" in printed.out if there else "no IDX file" in printed.err


def test_the_script_says_what_is_missing(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--idx", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no IDX file" in done.stderr
    assert "Traceback" not in done.stderr
