"""`ssl-jax data prepare`: what comes out, the same bytes however it was interrupted, and pictures made smaller."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from small_sets import COUNT, WRITERS, encoded, picture, write_parquet, write_tar

from ssl_jax.cli import main
from ssl_jax.data import kept, prepare
from ssl_jax.data.image.shrink import shrunk
from ssl_jax.errors import UserError
from ssl_jax.recipe.sources import opened

SIZE = 16
SIDEWAYS = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"  # orientation 6, and nothing else


@pytest.fixture(autouse=True)
def small_files(tmp_path_factory, monkeypatch) -> None:
    """Files of four records, and nothing in the user's cache."""
    monkeypatch.setenv(kept.WHERE, str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(prepare, "_LEAST", 4)


def digests(folder) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*"))}


def prepared(name, folder, kind="arrayrecord", short_side=None, workers=1, advance=lambda n: None):
    source = opened(name, "SRC", size=SIZE)
    return prepare.prepare(source, prepare.plan(source, name, kind, short_side), folder, workers, advance)


@pytest.mark.parametrize("kind", WRITERS)
def test_what_was_prepared_is_the_same_set(tmp_path, kind):
    (tmp_path / "in").mkdir()
    name = WRITERS[kind](tmp_path / "in")
    source = opened(name, "x", size=SIZE)
    made = prepared(name, tmp_path / "encoded")
    prepared(name, tmp_path / "raw", "raw")
    encoded, raw = (opened(str(tmp_path / folder), "x", size=SIZE) for folder in ("encoded", "raw"))
    assert (made["records"], made["bad"], made["labels"]) == (COUNT, 0, {"0": 4, "1": 4, "2": 4})
    assert encoded.classes == raw.classes == tuple(source.classes)
    batch = raw.batch(np.arange(COUNT)[::-1])
    for i in range(COUNT):
        assert encoded.encoded(i)["image"] == picture(i)
        assert encoded.name_of(i) == source.name_of(i)
        assert encoded.texts(i).items() >= source.texts(i).items()
        for field, value in source[i].items():
            for found in (encoded[i], raw[i], {k: v[COUNT - 1 - i] for k, v in batch.items()}):
                np.testing.assert_array_equal(found[field], value)
                assert found[field].dtype == value.dtype
    for found in (raw, encoded):
        assert found.values("label").tolist() == [i % 3 for i in range(COUNT)]
    assert raw.fingerprint() != encoded.fingerprint()


def test_records_without_labels_and_arrays_are_prepared_too(tmp_path):
    (tmp_path / "in").mkdir()
    prepared(write_tar(tmp_path / "in", labels=False), tmp_path / "out")
    assert set(opened(str(tmp_path / "out"), "x", size=SIZE)[5]) == {"image"}
    np.save(tmp_path / "images.npy", np.arange(6 * 12 * 12, dtype=np.uint8).reshape(6, 12, 12))
    prepared(f"{tmp_path}/images.npy", tmp_path / "arrays")
    found = opened(str(tmp_path / "arrays"), "x", size=12, channels=1)
    np.testing.assert_array_equal(found[4]["image"][..., 0], np.load(tmp_path / "images.npy")[4])


def test_names_that_are_no_text_are_kept_readable(tmp_path, capfd):
    (tmp_path / "in").mkdir()
    for name, data in ((b"\xff.jpg", picture(1)), (b"\x1b[31m.jpg", b"bad")):
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(data)
    assert main(["data", "prepare", f"folder:{tmp_path}/in", str(tmp_path / "out")]) == 0
    assert main(["data", "stats", f"folder:{tmp_path}/in"]) == 0
    assert "\x1b" not in capfd.readouterr().out
    assert opened(str(tmp_path / "out"), "x", size=SIZE).name_of(0) == "\\udcff.jpg"


@pytest.mark.parametrize("kind", ["arrayrecord", "raw"])
def test_an_interrupted_preparation_goes_on_to_the_same_bytes(tmp_path, kind):
    (tmp_path / "in").mkdir()
    name = write_parquet(tmp_path / "in")
    prepared(name, tmp_path / "straight", kind, workers=3)
    expected = digests(tmp_path / "straight")
    out = tmp_path / "resumed"
    for stop in (1, 5, 6, 11):
        seen = []

        def advance(records, seen=seen, stop=stop):
            seen.append(records)
            if sum(seen) >= stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepared(name, out, kind, advance=advance)
    assert len(list(out.glob("00*"))) == 4  # two of three files, and their labels
    (out / ".00002-of-00003.array_record.partial").write_bytes(b"half")  # as a killed process leaves it
    prepared(name, out, kind, workers=2)
    assert {k: v for k, v in digests(out).items() if "partial" not in k} == expected
    done = []
    prepared(name, out, kind, advance=done.append)
    assert (sum(done), len(done)) == (COUNT, 3)  # nothing was made again
    file = sorted(out.glob("00*"))[0]
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    prepared(name, out, kind)
    assert {k: v for k, v in digests(out).items() if "partial" not in k} == expected


def test_bad_records_are_left_out_and_listed(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(7):
        (tmp_path / "in" / f"{i}.jpg").write_bytes(picture(i) if i not in (2, 4, 5, 6) else picture(i)[:-30])
    made = prepared(f"{tmp_path}/in", tmp_path / "out")
    assert (made["records"], made["bad"]) == (3, 4)
    listed = [bad for part in made["parts"] for bad in part["bad"]]
    assert [bad["name"] for bad in listed] == ["2.jpg", "4.jpg", "5.jpg", "6.jpg"]
    assert "truncated" in listed[0]["reason"]
    found = opened(str(tmp_path / "out"), "x", size=SIZE)
    assert [found.name_of(i) for i in range(len(found))] == ["0.jpg", "1.jpg", "3.jpg"]
    for i in (0, 1, 3):
        (tmp_path / "in" / f"{i}.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"none of 7 records can be read; '0.jpg': ValueError: not a picture"):
        prepared(f"{tmp_path}/in", tmp_path / "none")


def test_folders_that_hold_something_else_are_left_alone(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("all of it")
    name = write_tar(tmp_path / "in")
    prepared(name, tmp_path / "out")
    before = digests(tmp_path / "out")
    cases = {
        ("full",): "is not empty, and nothing was prepared there",
        ("out", "--short-side", "8"): "another preparation, of short_side None and not 8",
        ("out", "--raw", "8"): "another preparation, of kind 'arrayrecord' and not 'raw'",
        ("full/thesis.txt",): "cannot be written to",
        ("new", "--raw", "8", "--short-side", "8"): "two ways to store pictures",
        ("new", "--workers", "0"): "no whole number from 1 on",
    }
    for (folder, *options), told in cases.items():
        assert main(["data", "prepare", name, str(tmp_path / folder), *options]) == 2
        assert told in capsys.readouterr().err
    assert digests(tmp_path / "out") == before
    assert (tmp_path / "full" / "thesis.txt").read_text() == "all of it"


def test_the_command_says_where_the_records_are_now(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    name = write_tar(tmp_path / "in")
    assert main(["data", "prepare", name, str(tmp_path / "out"), "--short-side", "10", "--workers", "2"]) == 0
    said = capsys.readouterr().out
    assert "12 records" in said
    source = opened(said.splitlines()[-1], "x", size=8)
    assert Image.open(io.BytesIO(source.encoded(1)["image"])).size == (14, 10)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["plan"]["source"] == name


@pytest.mark.parametrize(
    ("image", "kind", "options", "size", "format", "mode"),
    [
        (Image.new("RGB", (40, 20), "red"), "JPEG", {}, (20, 10), "JPEG", "RGB"),
        (Image.new("L", (20, 40)), "JPEG", {}, (10, 20), "JPEG", "L"),
        (Image.new("CMYK", (20, 20)), "JPEG", {}, (10, 10), "JPEG", "RGB"),
        (Image.new("RGB", (40, 20)), "WEBP", {}, (20, 10), "JPEG", "RGB"),
        (Image.new("RGBA", (40, 20)), "WEBP", {}, (20, 10), "PNG", "RGBA"),
        (Image.new("RGB", (40, 20)), "PNG", {}, (20, 10), "PNG", "RGB"),
        (Image.new("P", (40, 20)), "GIF", {}, (20, 10), "PNG", "RGB"),
        (Image.new("RGB", (40, 20), "red"), "JPEG", {"exif": SIDEWAYS}, (10, 20), "JPEG", "RGB"),
    ],
)  # fmt: skip
def test_larger_pictures_are_made_smaller_and_others_stay_as_they_are(image, kind, options, size, format, mode):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    found = Image.open(io.BytesIO(shrunk(buffer.getvalue(), 10)))
    assert (found.size, found.format, found.mode) == (size, format, mode)
    assert shrunk(buffer.getvalue(), 20) == shrunk(buffer.getvalue(), None) == buffer.getvalue()


def test_a_smaller_picture_is_the_resized_one_and_wide_numbers_stay():
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (6, 8), dtype=np.uint8)).resize((400, 300), Image.Resampling.BICUBIC)
    data = encoded(np.asarray(photo), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).resize((85, 64), Image.Resampling.BICUBIC))
    found = np.asarray(Image.open(io.BytesIO(shrunk(data, 64))))
    assert np.abs(found.astype(int) - expected).mean() < 1
    wide = encoded(np.arange(900, dtype=np.uint16).reshape(30, 30))
    assert shrunk(wide, 10) == wide


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_leaves_what_the_next_one_goes_on_with(tmp_path, how):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize((1000, 750))
    for i in range(200):
        photo.save(folder / f"{i:03d}.jpg", quality=80 + i % 10)
    command = [sys.executable, "-m", "ssl_jax", "data", "prepare", str(folder)]
    options = ["--short-side", "64", "--workers", "2"]
    subprocess.run([*command, str(tmp_path / "straight"), *options], check=True, capture_output=True)
    out = tmp_path / "out"
    killed = subprocess.Popen([*command, str(out), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(out.glob("*.array_record")):
        time.sleep(0.01)
    os.kill(killed.pid, how)
    killed.communicate()
    assert killed.returncode != 0
    assert not (out / "manifest.json").exists()
    subprocess.run([*command, str(out), *options], check=True, capture_output=True)
    assert digests(out) == digests(tmp_path / "straight")
