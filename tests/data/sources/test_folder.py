"""Folders of pictures: labels, the exact square that comes out, and files that are not what they say."""

import io
import os
import socket

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.image.decode import decode_image
from ssl_jax.data.sources import ImageFolder
from ssl_jax.data.sources import folder as folders
from ssl_jax.errors import UserError


def encoded(array_or_picture, kind="PNG", **options):
    picture = array_or_picture
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(value, height=12, width=12):
    return np.full((height, width), value, np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two classes; `b` nests one picture deeper and holds a JPEG."""
    for name, value in (("b/deep/4.png", 40), ("a/2.png", 20), ("a/10.PNG", 10)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(grey(value)))
    (tmp_path / "b/3.jpg").write_bytes(encoded(grey(30), "JPEG"))
    (tmp_path / "a/notes.txt").write_text("not a picture, and not taken for one")
    (tmp_path / "a/.hidden.png").write_bytes(b"")
    return tmp_path


def test_class_folders_become_labels_in_the_order_of_their_names(folder):
    source = ImageFolder(folder, size=8)
    assert source.classes == ("a", "b")
    assert [source.name_of(i) for i in range(len(source))] == ["a/10.PNG", "a/2.png", "b/3.jpg", "b/deep/4.png"]
    assert [int(source[i]["label"]) for i in range(4)] == [0, 0, 1, 1]
    assert [int(source[i]["image"].mean()) for i in range(4)] == [10, 20, 30, 40]
    record = source[2]
    assert record["image"].shape == (8, 8, 3)
    assert record["image"].dtype == np.uint8
    assert record["label"].dtype == np.int32


def test_a_flat_folder_has_no_labels(folder):
    source = ImageFolder(str(folder / "a"), size=8, channels=1)
    assert source.classes == ()
    assert set(source[0]) == {"image"}
    assert source[0]["image"].shape == (8, 8, 1)


def test_the_listing_does_not_depend_on_the_order_of_the_directory(folder, monkeypatch):
    before = ImageFolder(folder, size=8)
    listed = folders._entries
    monkeypatch.setattr(folders, "_entries", lambda folder: listed(folder)[::-1])
    after = ImageFolder(folder, size=8)
    assert after.paths == before.paths
    assert after.fingerprint() == before.fingerprint()


def test_fingerprint_changes_with_a_file_its_name_or_the_size(folder):
    prints = [ImageFolder(folder, size=8).fingerprint(), ImageFolder(folder, size=9).fingerprint()]
    (folder / "a/2.png").write_bytes(encoded(grey(21)))
    prints.append(ImageFolder(folder, size=8).fingerprint())
    (folder / "a/2.png").rename(folder / "a/5.png")
    prints.append(ImageFolder(folder, size=8).fingerprint())
    assert len(set(prints)) == 4


def test_missing_empty_and_ambiguous_folders_are_refused(folder, tmp_path):
    cases = {
        "no folder at": tmp_path / "nowhere",
        "holds no pictures; fill or remove": folder,
        "both beside and inside folders": folder / "b",
    }
    (folder / "c").mkdir()
    for message, root in cases.items():
        with pytest.raises(UserError, match=message):
            ImageFolder(root, size=8)
    with pytest.raises(UserError, match="no pictures"):
        ImageFolder(folder / "c", size=8)
    with pytest.raises(UserError, match="channels=4"):
        ImageFolder(folder / "a", size=8, channels=4)


def test_links_are_followed_to_wherever_the_data_lies(folder, tmp_path_factory):
    """A root, a class, a folder inside of it and a file that are links give the records of the real ones."""
    other = tmp_path_factory.mktemp("other")
    (other / "b").symlink_to(folder / "b")
    (other / "a").mkdir()
    (other / "a/10.PNG").symlink_to(folder / "a/10.PNG")
    (other / "a/2.png").symlink_to(folder / "a/2.png")
    (tmp_path_factory.getbasetemp() / "root").symlink_to(other)
    real, linked = ImageFolder(folder, size=8), ImageFolder(tmp_path_factory.getbasetemp() / "root", size=8)
    assert (linked.paths, linked.classes) == (real.paths, real.classes)
    assert linked.fingerprint() == real.fingerprint()
    assert [int(linked[i]["image"].mean()) for i in range(4)] == [10, 20, 30, 40]
    (other / "c").symlink_to(folder / "b")  # the same pictures under two names are no loop
    assert len(ImageFolder(other, size=8)) == 6


@pytest.mark.parametrize(
    ("name", "target", "told"),
    [
        ("b/deep/again", "..", "b/deep/again' links to a folder that it lies in"),
        ("c", ".", "/c' links to a folder that it lies in"),
        ("b/up", "../..", "links to a folder that it lies in"),
        ("c", "nowhere", "/c' is a link to nothing"),
        ("c", "c", "/c' is a link to nothing"),
    ],
)
def test_links_without_end_are_refused(folder, name, target, told):
    (folder / name).symlink_to(target)
    with pytest.raises(UserError, match=told):
        ImageFolder(folder, size=8)


def test_what_is_no_regular_file_is_left_out_and_told(folder):
    """A FIFO would be waited for until somebody writes."""
    os.mkfifo(folder / "a/fifo.png")
    (folder / "a/device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "b/socket.jpg"))
        source = ImageFolder(folder, size=8)
    assert source.paths == ("a/10.PNG", "a/2.png", "b/3.jpg", "b/deep/4.png")
    assert "left out 3 names that are no regular files, 'a/device.png' first" in source.notes[0]


def test_a_file_that_becomes_something_else_is_a_bad_record_at_once(folder):
    source = ImageFolder(folder, size=8)
    for index, (make, told) in enumerate(
        [
            (os.mkfifo, "a FIFO, and no regular"),
            (os.mkdir, "a folder, and no regular"),
            (lambda path: os.symlink("/dev/zero", path), "a device, and no regular"),
            (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40), "1099511627776 bytes"),
        ]
    ):
        path = folder / source.paths[index]
        path.unlink()
        make(path)
        with pytest.raises((ValueError, OSError), match=told):
            source[index]
    assert len(source.fingerprint()) == 64


def test_the_centre_of_the_longer_side_is_kept():
    picture = np.zeros((8, 32), np.uint8)
    picture[:, 12:20] = 200
    assert (decode_image(encoded(picture), 8, 1) == 200).all()
    assert (decode_image(encoded(picture.T.copy()), 8, 1) == 200).all()


def test_shrinking_is_antialiased():
    """A one-pixel checkerboard shrunk eightfold is even grey; without a filter it would be black or white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(decode_image(encoded(board), 8, 1).astype(int) - 127).max() <= 3


@pytest.mark.parametrize(
    ("picture", "kind", "expected"),
    [
        (Image.new("RGB", (9, 9), (10, 20, 30)), "PNG", (10, 20, 30)),
        (Image.new("L", (9, 9), 50), "PNG", (50, 50, 50)),
        (Image.new("1", (9, 9), 1), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (9, 9), (200, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("LA", (9, 9), (40, 255)), "PNG", (40, 40, 40)),
        (Image.new("RGB", (9, 9), (250, 0, 0)).quantize(4), "PNG", (250, 0, 0)),
        (Image.new("CMYK", (9, 9), (0, 0, 0, 255)), "JPEG", (0, 0, 0)),
    ],
)
def test_every_8_bit_mode_becomes_rgb(picture, kind, expected):
    found = decode_image(encoded(picture, kind), 8)
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_large_jpegs_are_decoded_at_a_smaller_scale_with_nearly_the_same_pixels():
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((800, 600), Image.BICUBIC)
    exact = decode_image(encoded(photo), 32).astype(int)
    scaled = decode_image(encoded(photo, "JPEG", quality=95), 32).astype(int)
    assert np.abs(exact - scaled).mean() < 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a picture"),
        (b"<html>not an image</html>", "not a picture"),
        (encoded(grey(9, 64, 64), "JPEG")[:-40], "truncated|Truncated"),
        (encoded(grey(9, 64, 64))[:60], "truncated|broken|Truncated"),
        (encoded(grey(9, 1, 300)), "300x1 picture: the shorter side"),
        (encoded(np.zeros((9, 9), np.uint16)), "mode I;16 picture"),
        (encoded(np.zeros((9, 9), np.float32), "TIFF"), "mode F picture"),
    ],
)
def test_what_is_not_a_usable_picture_raises(data, message):
    with pytest.raises((ValueError, OSError, SyntaxError), match=message):
        decode_image(data, 8)


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "black_white"),
    [
        ((0, 40_000), np.uint16, "PNG", (0, 65535)),
        ((100, 4000), np.uint16, "PNG", (0, 4095)),
        ((0, 1000), np.int32, "TIFF", (0, 1023)),
        ((-1000, 3000), np.int32, "TIFF", (-4096, 4095)),
        ((0.0, 0.75), np.float32, "TIFF", (0, 1)),
        ((-0.5, 1.0), np.float32, "TIFF", (-1, 1)),
        ((0.0, 250.0), np.float32, "TIFF", (0, 255)),
    ],
)
def test_wide_pictures_are_scaled_by_the_range_of_the_folder(tmp_path, values, dtype, kind, black_white):
    for number, value in enumerate(values):
        (tmp_path / f"{number}.tif").write_bytes(encoded(np.full((12, 12), value, dtype), kind))
    source = ImageFolder(tmp_path, size=8)
    low, high = black_white
    for number, value in enumerate(values):
        assert source[number]["image"].dtype == np.uint8
        np.testing.assert_allclose(source[number]["image"], 255 * (value - low) / (high - low), atol=0.51)
    assert f"{low} is black and {high} white" in source.notes[0]


def test_wide_pictures_beyond_the_range_are_bad_records_and_the_range_can_be_said(tmp_path):
    (tmp_path / "0.png").write_bytes(encoded(np.full((12, 12), 9000, np.uint16)))
    assert int(ImageFolder(tmp_path, size=8, pixels=(0, 18000))[0]["image"].mean()) == 128
    with pytest.raises(ValueError, match=r"pixels from 9000 to 9000 lie outside of \[0, 4095\]"):
        ImageFolder(tmp_path, size=8, pixels=(0, 4095))[0]
    with pytest.raises(UserError, match="low below high"):
        ImageFolder(tmp_path, size=8, pixels=(9, 9))
    (tmp_path / "1.tif").write_bytes(encoded(np.full((12, 12), 1e9, np.float32), "TIFF"))
    with pytest.raises(UserError, match=r"from 9000 to 1e\+09: set pixels"):
        ImageFolder(tmp_path, size=8)


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_decompression_bomb_raises_before_it_is_decoded():
    data = encoded(Image.new("1", (10_000, 10_000)))
    assert len(data) < 20_000
    with pytest.raises(ValueError, match="10000x10000 picture: more than"):
        decode_image(data, 8)
    with pytest.raises(ValueError, match="more than 80 pixels"):
        decode_image(encoded(grey(0, 9, 9)), 8, max_pixels=80)
