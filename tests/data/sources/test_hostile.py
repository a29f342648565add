"""Files made to do harm: nothing is written, run or waited for; there is a message, a note, or a bad record."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sets import add, encoded, picture, write_arrayrecord, write_parquet

from ssl_jax.data import kept
from ssl_jax.data.sources import parquet as parquet_source
from ssl_jax.data.sources import tar_members
from ssl_jax.errors import UserError
from ssl_jax.recipe.sources import opened

pytestmark = pytest.mark.filterwarnings("ignore:Image size")

SIZE = 16
GOOD = [("0.jpg", picture(0), {}), ("0.cls", b"1", {})]
SPARSE = {"type": tarfile.GNUTYPE_SPARSE}
BOMB = encoded(Image.new("1", (10_000, 10_000)))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv(kept.WHERE, str(tmp_path_factory.mktemp("cache")))


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.name.endswith(".ssl-jax-index.npz")}


def tar_of(folder: Path, members, format=tarfile.PAX_FORMAT, change=lambda data: data) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, data, fields in members:
            add(archive, name, data, **fields)
    (folder / "x.tar").write_bytes(change(buffer.getvalue()))
    return f"tar:{folder}/x.tar"


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE):
    return (name, b"", {"type": kind, "linkname": to})


def sized(size: int):
    """A change of the first header: another size, and the checksum that goes with it."""

    def change(data: bytes) -> bytes:
        info = tarfile.TarInfo.frombuf(data[:512], "utf-8", "strict")
        info.size = size
        return info.tobuf(tarfile.GNU_FORMAT) + data[512:]

    return change


# Members beside a good record -> what the notes say. Nothing else may come of them.
LEFT_OUT = {
    "parent path": ([("../../../tmp/evil.jpg", picture(1), {})], "lead out of a folder"),
    "absolute path": ([("/etc/evil.jpg", picture(1), {})], "lead out of a folder"),
    "link": ([link("1.jpg", "/etc/passwd")], "left out that are a link, '1.jpg'"),
    "hard link": ([link("1.jpg", "../../etc/passwd", tarfile.LNKTYPE)], "a link"),
    "link to a folder, then a file in it": ([link("d", "/tmp"), ("d/1.jpg", picture(1), {})], "a link"),
    "device": ([("1.jpg", b"", {"type": tarfile.CHRTYPE})], "a device"),
    "FIFO": ([("1.jpg", b"", {"type": tarfile.FIFOTYPE})], "a FIFO"),
    "sparse": ([("1.jpg", b"", SPARSE)], "a sparse file"),
    "sparse by pax": ([("1.jpg", b"x", {"pax_headers": {"GNU.sparse.realsize": "999999999999"}})], "a sparse file"),
    "no suffix": ([("Makefile", b"all:", {}), ("._1.jpg", b"mac", {})], "2 names left out that have no suffix"),
    "no picture": ([("7.txt", b"alone", {})], "left out 1 records without a picture"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_members_of_a_tar_that_are_no_files_are_left_out_and_told(tmp_path, case):
    members, told = LEFT_OUT[case]
    name = tar_of(tmp_path, [*GOOD, *members])
    before = everything(tmp_path)
    source = opened(name, "x", size=SIZE)
    assert source[0]["label"] == 1
    assert told in "; ".join(source.notes)
    assert all(
        "passwd" not in source.name_of(i) and source[i]["image"].shape == (SIZE, SIZE, 3) for i in range(len(source))
    )
    assert everything(tmp_path) == before
    assert not Path("/tmp/evil.jpg").exists()


# An archive, and what is said of it. No more is read of it than that takes.
REFUSED = {
    "cut in a file": (GOOD, lambda data: data[:600], "claims .* bytes, and 88 follow"),
    "cut between files": (GOOD, lambda data: data[:1536], "cut short: it ends at byte 1536 without an end mark"),
    "empty": (GOOD, lambda data: b"", "cut short"),
    "only an end mark": (GOOD, lambda data: bytes(10240), "holds no pictures"),
    "text": (GOOD, lambda data: b"hello" * 999, "no header at byte 0"),
    "damaged later": (GOOD, lambda data: data[:1540] + b"!" + data[1541:], "no header at byte 1536"),
    "huge size": (GOOD, sized(2**60), "claims 1152921504606846976 bytes"),
    "negative size": (GOOD, sized(-512), "claims -512 bytes"),
    "long pax header": (
        [("1.jpg", b"x", {"pax_headers": {"comment": "a" * 200_000}})],
        None,
        "extended header .* 65536",
    ),
    "many extended headers": (GOOD, lambda data: _extended() * 40 + data, "more than 8 extended headers"),
    "pax header of no list": (GOOD, lambda data: _extended(b"999 path=x\n") + data, "no list of keys and values"),
    "pax size": ([("1.jpg", b"x", {"pax_headers": {"size": "-1024"}})], None, "claims -1024 bytes"),
    "twice the same": ([*GOOD, GOOD[0]], None, "holds '0.jpg' twice|next to each other"),
    "scattered": ([GOOD[0], ("1.jpg", picture(1), {}), GOOD[1]], None, "do not stand next to each other"),
    "dots in names": ([(f"a.{i}.jpg", b"", {}) for i in range(70)], None, "more than 64 kinds of files"),
    "gzip": (GOOD, lambda data: b"\x1f\x8b\x08" + data, "compressed .gzip."),
    "zip": (GOOD, lambda data: b"PK\x03\x04" + data, "compressed .zip."),
}


def _extended(data: bytes = b"11 path=xy\n") -> bytes:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data.ljust(512, b"\0")


@pytest.mark.parametrize("case", REFUSED)
def test_archives_that_lie_are_refused_with_what_is_wrong(tmp_path, case):
    members, change, told = REFUSED[case]
    name = tar_of(tmp_path, members, change=change or (lambda data: data))
    before = everything(tmp_path)
    with pytest.raises(UserError, match=told):
        opened(name, "x", size=SIZE)
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["a/\x1b[31mred.jpg", "line\nfeed.jpg", "🐱" * 60 + ".jpg", "b\udcff.jpg", "a" * 3000 + ".jpg"]
)
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_hostile_names_are_names(tmp_path, name, format):
    source = opened(tar_of(tmp_path, [(name, picture(0), {})], format), "x", size=SIZE)
    assert source.name_of(0) == f"x.tar/{name.removesuffix('.jpg')}"
    assert len(source.fingerprint()) == 64
    assert len(opened(f"tar:{tmp_path}/x.tar", "x", size=SIZE)) == 1  # by the index that was kept


def test_a_real_sparse_file_between_others_shifts_nothing():
    """GNU's old format has blocks after the header that its size does not count."""
    sparse = tarfile.TarInfo("s.jpg")
    sparse.type, sparse.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    after = tarfile.TarInfo("after.jpg").tobuf()
    data = bytes(header) + bytes(504) + b"\1" + bytes(7) + bytes(512) + b"x" * 512 + after + bytes(1024)
    found = list(tar_members.members(lambda at, n: data[at : at + n], len(data)))
    assert [(member.name, member.odd) for member in found] == [("s.jpg", "a sparse file"), ("after.jpg", "")]


@pytest.mark.parametrize("write", [write_parquet, write_arrayrecord])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data[: len(data) // 2], "cut short|cannot be read as a Parquet file"),
        (lambda data: b"", "cut short|cannot be read as a Parquet file"),
        (lambda data: b"PAR1" + b"\xff" * 5000 + b"PAR1", "ArrayRecord|cannot be read as a Parquet file"),
        (lambda data: bytes(200_000), "damaged|cannot be read as a Parquet file"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, write, change, told):
    name = write(tmp_path)
    file = sorted(tmp_path.iterdir())[1]
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(UserError, match=rf"{file.name}.*({told})"):
        opened(name, "x", size=SIZE)


def test_parquet_that_is_sound_and_hostile(tmp_path):
    """A picture that is only a path is not opened; nulls, texts and bombs are bad records."""
    import pyarrow as pa
    from pyarrow import parquet

    images = [
        {"bytes": None, "path": "/etc/passwd"},
        {"bytes": b"<svg/>", "path": ""},
        None,
        {"bytes": BOMB, "path": ""},
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": pa.array([0, 1, 2, 2**40])})
    for metadata in ({"huggingface": "{" * 9999}, {"huggingface": '{"info": {"features": [1]}}'}, {"huggingface": "3"}):
        parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "x.parquet")
        source = opened(f"{tmp_path}/x.parquet", "x", size=SIZE)
        for index, told in enumerate(
            ("no bytes of a picture", "not a picture", "no bytes of a picture", "is outside of|more than")
        ):
            with pytest.raises(ValueError, match=told):
                source[index]


def test_a_row_group_that_unfolds_is_left_before_it_is_whole(tmp_path, monkeypatch):
    name = write_parquet(tmp_path)
    monkeypatch.setattr(parquet_source, "_LARGEST", 100)
    monkeypatch.setattr(parquet_source, "GROUPS", parquet_source._Groups())
    with pytest.raises(ValueError, match=r"row group 0 of .* has more than 100 bytes"):
        opened(name, "x", size=SIZE)[0]


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "not a picture"),
        (b"\x80", "no picture"),
        (b"\x81\xa5image\xc0", "no packed record"),
        (b"\xdf\xff\xff\xff\xff", "no packed record"),
        (b"\x81\xa5image" + b"\x91" * 5000 + b"\x90", "no packed record"),
        (b"\x81\xa5image\xd6\xff\0\0\0\0", "no packed record"),
        (b"\x80\x04\x95cposix\nsystem\n", "no packed record"),
        (b"\x81\xa5image\xc4\x01x", "not a picture"),
        (b"\x82\xa5image\xc4\x01x\xa5label\xcb\x7f\xf0\0\0\0\0\0\0", "no whole number"),
        (BOMB, "10000x10000 picture: more than"),
    ],
)
def test_arrayrecord_payloads_that_are_no_records_are_bad_ones(tmp_path, payload, told):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(tmp_path / "x.array_record"), "group_size:1")
    writer.write(payload)
    writer.close()
    source = opened(f"{tmp_path}/x.array_record", "x", size=SIZE)
    with pytest.raises(ValueError, match=told):
        source[0]
    assert source.name_of(0) == "x.array_record[0]"


def test_a_bomb_in_a_tar_is_a_bad_record(tmp_path):
    source = opened(tar_of(tmp_path, [("0.png", BOMB, {}), ("1.jpg", picture(1), {})]), "x", size=SIZE)
    with pytest.raises(ValueError, match="10000x10000 picture: more than"):
        source[0]
    assert source[1]["image"].shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(
    ("pixels", "labels", "told"),
    [
        (np.array([{}], object), None, "cannot be read as an array"),
        (np.zeros((2, 4, 4, 3), np.float32), None, "holds float32"),
        (np.zeros((2, 4, 4), np.uint8), None, r"holds uint8 \(2, 4, 4\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int32), "labels beside"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, -7], np.int32), "labels beside"),
        (np.zeros((0, 4, 4, 3), np.uint8), None, "no records"),
    ],
)
def test_pixels_that_are_none_are_refused(tmp_path, pixels, labels, told):
    np.save(tmp_path / "x.pixels.npy", pixels)
    if labels is not None:
        np.save(tmp_path / "x.labels.npy", labels)
    with pytest.raises(UserError, match=told):
        opened(f"raw:{tmp_path}/x.pixels.npy", "x")
