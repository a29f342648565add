"""ArrayRecord, tar and Parquet files give the records that their own libraries wrote; TFDS gives bytes as well."""

import os
import pickle
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from small_sets import CLASSES, COUNT, WRITERS, add, encoded, picture, write_tar

from ssl_jax.data import kept
from ssl_jax.data.image.decode import decode_image
from ssl_jax.data.sources import Tar, shards, tar_index
from ssl_jax.errors import UserError
from ssl_jax.recipe.sources import opened

SIZE = 16


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    where = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(kept.WHERE, str(where))
    return where


@pytest.mark.parametrize("kind", WRITERS)
def test_a_format_gives_the_records_that_were_written(tmp_path, kind):
    name = WRITERS[kind](tmp_path)
    fields = {"tar": "{'text':'txt','place':'json.at.place'}"}.get(kind, "{'text':'text'}")
    source = opened(f"{name}?fields={fields}", "data.pretrain", size=SIZE)
    assert len(source) == COUNT
    assert tuple(source.classes) == (CLASSES if kind == "parquet" else ())
    for i in reversed(range(COUNT)):
        assert source.encoded(i)["image"] == picture(i)
        record = source[i]
        np.testing.assert_array_equal(record["image"], decode_image(picture(i), SIZE))
        assert (record["label"], record["label"].dtype, record["text"]) == (i % 3, np.int32, f"number {i}")
        assert kind != "tar" or record["place"] == i
        assert f"number {i}" in source.texts(i).values()
    assert len({source.name_of(i) for i in range(COUNT)}) == COUNT
    values = source.values("label")
    assert kind == "arrayrecord" or values.tolist() == [i % 3 for i in range(COUNT)]
    with pytest.raises(IndexError):
        source[COUNT]


@pytest.mark.parametrize("kind", WRITERS)
def test_records_need_no_labels(tmp_path, kind):
    source = opened(WRITERS[kind](tmp_path, labels=False), "data.pretrain", size=SIZE)
    assert set(source[3]) == {"image"}
    assert source.values("label") is None


@pytest.mark.parametrize("kind", WRITERS)
def test_threads_and_other_processes_read_the_same(tmp_path, kind):
    name = WRITERS[kind](tmp_path)
    source = opened(name, "data.pretrain", size=SIZE)
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint() == source.fingerprint() == opened(name, "x", size=SIZE).fingerprint()
    assert source.fingerprint() != opened(name, "x", size=SIZE + 1).fingerprint()
    expected, wrong = [source[i]["image"] for i in range(COUNT)], []

    def read(seed: int) -> None:
        for i in np.random.default_rng(seed).integers(0, COUNT, 50):
            wrong.extend([i] if not np.array_equal(again[int(i)]["image"], expected[i]) else [])

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("kind", WRITERS)
def test_another_picture_is_another_fingerprint_and_a_file_that_changed_is_noticed(tmp_path, kind):
    name = WRITERS[kind](tmp_path)
    source = opened(name, "data.pretrain", size=SIZE)
    before = source.fingerprint()
    file = Path(source.shards[0].path)
    data = bytearray(file.read_bytes())
    data[max(data.find(picture(3)[-40:]), len(data) // 3)] ^= 1  # Parquet files are compressed
    file.write_bytes(data)
    os.utime(file, ns=(1, 1))
    assert opened(name, "x", size=SIZE).fingerprint() != before
    shards._opened.cache_clear()
    with pytest.raises(ValueError, match="another file than when it was opened first"):
        shards.read_at(source.shards[0], 0, 4)


def test_some_labels_may_be_missing_or_wrong(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for i, label in enumerate((b"2", None, b" 0\n", b"two")):
            add(archive, f"{i}.png", picture(i, "PNG"))
            if label is not None:
                add(archive, f"{i}.cls", label)
    source = Tar(str(tmp_path / "a.tar"), size=SIZE)
    assert [int(source[i]["label"]) for i in range(3)] == [2, -1, 0]
    with pytest.raises(ValueError, match="the label 'two' is no whole number"):
        source[3]
    assert source.values("label") is None
    with pytest.raises(ValueError, match="the record has no field 'txt'"):
        Tar(str(tmp_path / "a.tar"), size=SIZE, fields={"text": "txt"})[0]
    with pytest.raises(ValueError, match=r"the label 2 is outside of \[0, 2\)"):
        Tar(str(tmp_path / "a.tar"), size=SIZE, classes=("x", "y"))[0]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{0..2}.tar", ["0.tar", "1.tar", "2.tar"]),
        ("{008..010}", ["008", "009", "010"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("{x}{}{1..}", ["{x}{}{1..}"]),
    ],
)
def test_braces_are_expanded_in_order(pattern, names):
    assert list(shards.expand(pattern)) == names


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("{0000..0002}.tar", "0002.tar' cannot be read .No such file"),
        ("*.tgz", "names no files; name tar archives"),
        ("{0..99999999999}.tar", "names more than 100,000 files"),
        ("empty", "names no files; name tar archives"),
        ("pipe.tar", "a FIFO, and no regular file"),
    ],
)
def test_files_that_are_not_there_are_told_at_once(tmp_path, pattern, told):
    write_tar(tmp_path)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(UserError, match=told):
        Tar(str(tmp_path / pattern), size=SIZE)


def test_an_archive_is_gone_through_once_and_again_when_it_has_changed(tmp_path, cache, monkeypatch):
    pattern, built, build = write_tar(tmp_path), [], tar_index.build
    monkeypatch.setattr(tar_index, "build", lambda *a: built.append(1) or build(*a))
    first = opened(pattern, "x", size=SIZE)
    beside = sorted(tmp_path.glob(".*.ssl-jax-index.npz"))
    assert (len(built), len(beside), list(cache.iterdir())) == (2, 2, [])
    assert opened(pattern, "x", size=SIZE).fingerprint() == first.fingerprint()
    assert opened(f"tar:{tmp_path}", "x", size=SIZE).fingerprint() == first.fingerprint()  # a folder is its archives
    assert len(built) == 2
    os.utime(tmp_path / "0001.tar", ns=(5, 5))
    assert opened(pattern, "x", size=SIZE).fingerprint() == first.fingerprint()
    assert len(built) == 3
    monkeypatch.setattr(kept, "_places", lambda kind, name, beside: [kept.place(kind, name)])
    opened(pattern, "x", size=SIZE)
    opened(pattern, "x", size=SIZE)
    assert (len(built), len(list(cache.iterdir()))) == (5, 2)


def test_an_index_that_lies_is_not_believed(tmp_path):
    pattern = write_tar(tmp_path)
    good = opened(pattern, "x", size=SIZE)[2]["image"]
    place = tmp_path / ".0000.tar.ssl-jax-index.npz"
    with np.load(place) as archive:
        arrays = dict(archive)
    for change in (
        {"places": arrays["places"] + 10**9},
        {"places": arrays["places"].astype(np.int32)},
        {"places": -arrays["places"]},
        {"ends": arrays["ends"][::-1]},
        {"labels": arrays["labels"][:2]},
        {"blob": np.array([None])},
        {"head": np.frombuffer(b"[" * 100_000, np.uint8)},
    ):
        np.savez(place, **(arrays | change))
        np.testing.assert_array_equal(opened(pattern, "x", size=SIZE)[2]["image"], good)
    np.savez_compressed(place, **(arrays | {"blob": np.zeros(1 << 24, np.uint8)}))
    np.testing.assert_array_equal(opened(pattern, "x", size=SIZE)[2]["image"], good)


def test_bare_pictures_in_arrayrecord_files_are_records(tmp_path):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(tmp_path / "x.array_record"), "group_size:1")
    for i, kind in enumerate(("JPEG", "PNG", "WEBP", "BMP")):
        writer.write(picture(i, kind))
    writer.close()
    source = opened(f"{tmp_path}/x.array_record", "x", size=SIZE)
    for i, kind in enumerate(("JPEG", "PNG", "WEBP", "BMP")):
        np.testing.assert_array_equal(source[i]["image"], decode_image(picture(i, kind), SIZE))
    assert source.name_of(2) == "x.array_record[2]"


def test_the_columns_of_parquet_may_be_named_and_labels_be_texts(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    rows = {"pixels": [encoded(np.full((9, 9), i, np.uint8)) for i in range(3)], "kind": ["b", "a", None]}
    parquet.write_table(pa.table(rows), tmp_path / "x.parquet")
    source = opened(f"{tmp_path}/x.parquet?image_key=pixels&label_key=kind", "x", size=SIZE)
    assert source.classes == ("a", "b")
    assert [int(source[i]["label"]) for i in range(3)] == [1, 0, -1]
    with pytest.raises(UserError, match=r"has no field 'image'; it has 'pixels', 'kind'"):
        opened(f"{tmp_path}/x.parquet", "x", size=SIZE)
