"""Arrays, IDX files and subsets: what they deliver, and what they say about files that lie."""

import gzip
import os
import struct

import numpy as np
import pytest

from ssl_jax.data.fit import check_scales
from ssl_jax.data.sources import Arrays, Embedded, FashionMNIST, Idx, Subset
from ssl_jax.data.sources.arrays import HASH_ROWS, check_labels, spread
from ssl_jax.data.sources.idx import read_idx
from ssl_jax.errors import UserError
from ssl_jax.recipe import Component
from ssl_jax.training import opening

IMAGES = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def idx_bytes(array, code=8, shape=None):
    shape = array.shape if shape is None else shape
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + array.tobytes()


@pytest.fixture
def idx(tmp_path):
    """A directory that looks like Fashion-MNIST, with 6 training and 4 test images."""
    for name, count in (("train", 6), ("t10k", 4)):
        images = np.resize(IMAGES, (count, 28, 28))
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:count].astype(np.uint8)))
    return tmp_path


# Arrays


def test_arrays_give_records_and_gathered_batches_of_the_same_values():
    source = Arrays({"image": IMAGES, "label": LABELS, "tokens": np.arange(12.0).reshape(6, 2)})
    assert len(source) == 6
    ids = np.array([5, 0, 5])
    batch = source.batch(ids)
    assert batch["image"].shape == (3, 4, 3, 1)
    for row, i in enumerate(ids):
        for name, value in source[i].items():
            np.testing.assert_array_equal(batch[name][row], value)
            assert batch[name].dtype == value.dtype
    assert source[1]["label"].dtype == np.int32


def test_records_need_no_image_and_no_label():
    source = Arrays({"tokens": np.arange(10).reshape(5, 2)})
    assert source.classes == ()
    assert source[4]["tokens"].tolist() == [8, 9]


def test_npz_and_npy_files_give_the_same_records_and_fingerprint_as_memory(tmp_path):
    np.savez_compressed(tmp_path / "all.npz", x_train=IMAGES, y_train=LABELS, version=np.array(3))
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    memory = Arrays({"image": IMAGES, "label": LABELS})
    zipped = Arrays(str(tmp_path / "all.npz"), fields={"image": "x_train", "label": "y_train"})
    mapped = Arrays({"image": str(tmp_path / "x.npy"), "label": tmp_path / "y.npy"})
    assert isinstance(mapped.columns["image"].base, np.memmap)
    for source in (zipped, mapped):
        np.testing.assert_array_equal(source.batch(np.arange(6))["image"], memory.batch(np.arange(6))["image"])
        assert source.fingerprint() == memory.fingerprint()


def test_fingerprint_changes_with_one_value_one_name_or_the_order():
    base = Arrays({"image": IMAGES, "label": LABELS}).fingerprint()
    changed = IMAGES.copy()
    changed[3, 2, 1] ^= 1
    others = [
        Arrays({"image": changed, "label": LABELS}),
        Arrays({"picture": IMAGES, "label": LABELS}),
        Arrays({"image": IMAGES[::-1], "label": LABELS}),
        Arrays({"image": IMAGES, "label": LABELS}, limit=5),
    ]
    assert len({base, *(s.fingerprint() for s in others)}) == 5


def test_a_cheap_fingerprint_looks_at_both_ends_and_evenly_between():
    places = spread(10**9, HASH_ROWS)
    assert len(places) == HASH_ROWS
    assert (places[0], places[-1]) == (0, 10**9 - 1)
    assert np.ptp(np.diff(places)) <= 1
    assert spread(3, HASH_ROWS).tolist() == [0, 1, 2]


def test_big_endian_arrays_become_native():
    source = Arrays({"x": np.arange(4, dtype=">i2")})
    assert source.columns["x"].dtype.isnative
    assert source.columns["x"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"image": IMAGES, "label": LABELS[:5]}, {}, "one common number of records.*'image': 6.*'label': 5"),
        ({"x": np.array(3)}, {}, "one common number"),
        ({}, {}, "one common number"),
        ({"x": np.zeros((0, 2))}, {}, "no records"),
        ({"x": np.array(["a", "b"])}, {}, "'x' has dtype <U1"),
        ({"x": np.array([None, 1])}, {}, "'x' has dtype object"),
        ({"label": LABELS}, {"num_classes": 2}, r"label 2 of record 2 is outside \[0, 2\) \(2 such records\)"),
        ({"label": LABELS}, {"classes": ("a", "b")}, "label 2 of record 2"),
        ({"label": LABELS - 1}, {}, "label -1 of record 0"),
        ({"label": LABELS * 1.0}, {}, "whole numbers"),
        ({"x": LABELS}, {"limit": 0}, "limit=0"),
        ("nowhere.npz", {}, "no array file at 'nowhere.npz'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_the_reason(arrays, options, message):
    with pytest.raises(UserError, match=message):
        Arrays(arrays, **options)


def test_files_with_python_objects_are_refused(tmp_path):
    objects = np.array([{"a": 1}, None], dtype=object)
    np.savez(tmp_path / "o.npz", x=objects)
    np.save(tmp_path / "o.npy", objects)
    for arrays in (tmp_path / "o.npz", {"x": tmp_path / "o.npy"}):
        with pytest.raises(UserError, match=r"plain numpy arrays.*no object arrays"):
            Arrays(arrays)


def test_damaged_and_misnamed_array_files_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    np.savez(tmp_path / "x.npz", image=IMAGES)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-5])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:-50])
    (tmp_path / "text.npz").write_text("hello")
    for arrays in ({"x": tmp_path / "cut.npy"}, tmp_path / "cut.npz", tmp_path / "text.npz"):
        with pytest.raises(UserError, match="cannot be read as plain numpy arrays"):
            Arrays(arrays)
    with pytest.raises(UserError, match="say which field"):
        Arrays(tmp_path / "x.npy")
    with pytest.raises(UserError, match="holds several arrays"):
        Arrays({"x": tmp_path / "x.npz"})
    with pytest.raises(UserError, match="has no array 'x_train'; it has image"):
        Arrays(tmp_path / "x.npz", fields={"image": "x_train"})


def test_a_record_number_out_of_range_is_an_index_error():
    for i in (6, -1):
        with pytest.raises(IndexError):
            Arrays({"x": LABELS})[i]


def test_unsigned_labels_beyond_int32_do_not_wrap_around():
    with pytest.raises(UserError, match="label 4294967295 of record 1"):
        check_labels(np.array([0, 2**32 - 1], np.uint32), None)


@pytest.mark.parametrize(
    ("values", "dtype", "black_white"),
    [
        ((0, 65535), np.uint16, (0, 65535)),
        ((3, 3000), np.uint16, (0, 4095)),
        ((0, 255), np.int32, (0, 255)),
        ((0, 1), np.int64, (0, 1)),
        ((False, True), bool, (0, 1)),
        ((-1024, 3071), np.int16, (-4096, 4095)),
    ],
)
def test_images_of_other_integers_are_scaled_by_their_range_and_it_is_told(values, dtype, black_white):
    images, (low, high) = np.resize(np.array(values, dtype), (4, 6, 6)), black_white
    source = Arrays({"image": images})
    expected = ((images - np.float64(low)) / (high - low))[..., None]
    np.testing.assert_allclose(source.batch(np.arange(4))["image"], expected, atol=1e-6)
    assert (source[1]["image"].dtype, source[1]["image"].shape) == (np.float32, (6, 6, 1))
    assert f"{low} is black and {high} white" in opening.data(Subset(source))


def test_images_of_8_bits_and_floats_are_delivered_as_they_are_unless_their_range_is_said():
    for images in (IMAGES, IMAGES / np.float32(255), IMAGES * 1.0):
        source = Arrays({"image": images})
        assert source[1]["image"].dtype == images.dtype
        assert source.notes == ()
    np.testing.assert_allclose(
        Arrays({"image": IMAGES * 2.0 - 7}, pixels=(-7, 503))[1]["image"][..., 0], IMAGES[1] / 255, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"lie outside of \[0, 10\]"):
        Arrays({"image": IMAGES * 1.0}, pixels=(0, 10))[5]


def test_splits_that_took_different_numbers_for_white_are_refused():
    """One that happens to be dark would be brightened: the same picture has other pixels in it."""
    bright, dark = (Arrays({"image": np.full((2, 4, 4), top, np.uint16)}) for top in (4000, 900))
    plain = Arrays({"image": IMAGES})
    check_scales({"probe": bright, "test": Subset(bright), "pretrain": plain})
    with pytest.raises(UserError, match=r"data.probe by \[0, 4095\], data.test by \[0, 1023\].*pixels=\(0, 4095\)"):
        check_scales({"probe": bright, "test": Subset(dark)})


def test_labels_that_are_all_minus_one_are_none():
    """-1 is what unlabelled splits hold."""
    source = Arrays({"image": IMAGES, "label": 0 * LABELS - 1}, classes=("a", "b"))
    assert set(source[0]) == {"image"}
    assert source.values("label") is None


def test_a_memory_mapped_file_that_was_cut_is_told_instead_of_killing_the_process(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((64, 32, 32), np.uint8))
    (tmp_path / "x.idx").write_bytes(idx_bytes(np.zeros((64, 32, 32), np.uint8)))
    sources = [Arrays({"image": tmp_path / "x.npy"}), Idx(tmp_path / "x.idx"), Arrays({"image": tmp_path / "x.npy"})]
    for path in (tmp_path / "x.npy", tmp_path / "x.idx"):
        os.truncate(path, 5000)
    for source in (*sources, Subset(sources[0])):
        with pytest.raises(UserError, match="and has 5000 now: it was cut while it was read"):
            source.batch(np.array([len(source) - 1]))
    with pytest.raises(UserError, match="cut while"):
        sources[1][0]


# IDX


@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
def test_idx_of_every_type_round_trips_plain_and_zipped(tmp_path, code, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "a").write_bytes(idx_bytes(array, code))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx_bytes(array, code)))
    for name in ("a", "a.gz"):
        found = read_idx(tmp_path / name)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == np.dtype(dtype).newbyteorder("=")
        assert found.dtype.isnative


def test_idx_source_has_a_channel_and_checked_labels(idx):
    images, labels = idx / "train-images-idx3-ubyte.gz", idx / "train-labels-idx1-ubyte"
    source = Idx(images, labels, num_classes=3)
    assert source[2]["image"].shape == (28, 28, 1)
    assert source[2]["label"] == 2
    assert "label" not in Idx(images)[0]
    with pytest.raises(UserError, match="label 2 of record 2"):
        Idx(images, labels, num_classes=2)
    with pytest.raises(UserError, match="one common number"):
        Idx(images, idx / "t10k-labels-idx1-ubyte")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it starts with nothing"),
        (b"\x89PNG\r\n", "not an IDX file: it starts with 89504e47"),
        (b"\0\0\x08\0", "not an IDX file"),
        (b"\0\0\x08\x03\0\0\0\x02", "ends inside its IDX header"),
        (idx_bytes(IMAGES, shape=(7, 4, 3)), "announces 84 bytes.*holds 72"),
        (idx_bytes(IMAGES, shape=(5, 4, 3)), "announces 60 bytes.*holds"),
        (idx_bytes(IMAGES, shape=(2**32 - 1,) * 4), "above the limit"),
        (idx_bytes(IMAGES, shape=(0, 2**32 - 1, 2**32 - 1, 2**32 - 1)), "announces no values"),
        (idx_bytes(IMAGES, shape=(1,) * 70), "announces 70 axes"),
        (idx_bytes(IMAGES, shape=(7 << 10, 1 << 20)), "announces 7516192768 bytes.*holds 72"),
        (b"\x1f\x8b" + b"rubbish" * 9, "damaged gzip"),
    ],
)
def test_an_idx_file_that_lies_is_refused_plain_and_zipped(tmp_path, content, message):
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "zipped").write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match=message):
        read_idx(tmp_path / "plain")
    if b"rubbish" not in content:
        with pytest.raises(UserError, match=message):
            read_idx(tmp_path / "zipped")


def test_a_cut_gzip_file_is_refused(idx):
    path = idx / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged gzip"):
        read_idx(path)


def test_no_more_than_announced_is_decompressed(tmp_path):
    """64 MB of zeros behind a header that announces four bytes: refused after five."""
    bomb = idx_bytes(np.zeros(4, np.uint8)) + bytes(64 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bomb, 1))
    with pytest.raises(UserError, match=r"announces 4 bytes.*holds more than 4"):
        read_idx(tmp_path / "bomb.gz")


# Fashion-MNIST


def test_fashion_mnist_is_found_by_option_and_by_environment(idx, monkeypatch):
    monkeypatch.delenv("SSL_JAX_FASHION_MNIST", raising=False)
    by_option = FashionMNIST("pretrain", root=str(idx))
    monkeypatch.setenv("SSL_JAX_FASHION_MNIST", str(idx))
    assert by_option.fingerprint() == FashionMNIST("train").fingerprint() == FashionMNIST("probe").fingerprint()
    assert (len(by_option), len(FashionMNIST("test"))) == (6, 4)
    assert by_option.classes == Embedded("test").classes
    assert by_option[5]["image"].shape == (28, 28, 1)
    assert len(FashionMNIST("test", limit=2)) == 2


def test_missing_fashion_mnist_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"Debian package dataset-fashion-mnist.*SSL_JAX_FASHION_MNIST.*TFDS.*Embedded"):
        FashionMNIST(root=str(tmp_path))
    with pytest.raises(UserError, match="split='valid'"):
        FashionMNIST("valid")


# Subset


def test_subsets_partition_a_source_and_depend_on_the_seed():
    source = Arrays({"label": np.arange(100)})
    train, held_out = Subset(source, 0.0, 0.8, seed=1), Subset(source, 0.8, 1.0, seed=1)
    assert (len(train), len(held_out)) == (80, 20)
    assert sorted([*train.ids, *held_out.ids]) == list(range(100))
    assert [train[i]["label"] for i in range(80)] == train.ids.tolist() == sorted(train.ids)
    assert train.batch(np.array([3, 1]))["label"].tolist() == [train.ids[3], train.ids[1]]
    assert train.fingerprint() == Subset(source, 0.0, 0.8, seed=1).fingerprint()
    assert len({s.fingerprint() for s in (train, held_out, Subset(source, 0.0, 0.8, seed=2), source)}) == 4


def test_a_subset_is_made_from_options_that_are_data():
    options = {"source": {"target": "ssl_jax.data.sources:Embedded", "split": "test"}, "start": 0.9}
    held_out = Component("ssl_jax.data.sources:Subset", options).build()
    assert len(held_out) == 500
    assert held_out.classes[1] == "Trouser"
    with pytest.raises(UserError, match="splt"):
        Component("ssl_jax.data.sources:Subset", {"source": options["source"] | {"splt": "test"}}).build()
    with pytest.raises(UserError, match="is no source of records; name one with `target`"):
        Subset(options["source"])


def test_subset_fractions_are_checked():
    source = Arrays({"x": LABELS})
    for start, stop in ((0.5, 0.5), (-0.1, 0.5), (0.2, 1.1)):
        with pytest.raises(UserError, match="fractions"):
            Subset(source, start, stop)
    with pytest.raises(UserError, match="leaves none of 6"):
        Subset(source, 0.0, 0.01)
