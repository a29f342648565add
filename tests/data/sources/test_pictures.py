"""Encoded pictures: upright, with the channels that are asked for, and the bytes themselves for who decodes them."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image, ImageOps

from ssl_jax.data.fit import check_channels
from ssl_jax.data.image.decode import decode_image
from ssl_jax.data.image.views import ImageViews
from ssl_jax.data.sources import Arrays, ImageFolder, Subset
from ssl_jax.errors import UserError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (20, 31, 3), np.uint8)


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def turned(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(NOISE, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_each_of_the_eight_orientations_is_read_as_pillow_turns_it(kind):
    for orientation in range(1, 9):
        data = turned(kind, orientation)
        upright = encoded(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        np.testing.assert_array_equal(decode_image(data, 16), decode_image(upright, 16), err_msg=str(orientation))
    assert len({decode_image(turned(kind, k), 16).tobytes() for k in range(1, 9)}) == 8


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_picture_with_damaged_exif_is_a_picture():
    assert decode_image(encoded(NOISE, "PNG", exif=b"Exif\0\0MM\0*" + b"\xff" * 9), 16).shape == (16, 16, 3)


def test_other_numbers_of_channels_are_taken_as_they_are(tmp_path):
    """RGBA is not laid on white, and the pages of a TIFF are channels, of 8 bits or of 16."""
    rgba = RNG.integers(0, 256, (12, 12, 4), np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(rgba), 12, 4), rgba)
    for dtype, white in ((np.uint8, 255), (np.uint16, 65535)):
        pages = RNG.integers(0, white, (5, 12, 12)).astype(dtype)
        first, *rest = map(Image.fromarray, pages)
        (tmp_path / "0.tif").write_bytes(encoded(first, "TIFF", save_all=True, append_images=rest))
        found = ImageFolder(tmp_path, size=12, channels=5)[0]["image"]
        np.testing.assert_array_equal(found, np.rint(np.moveaxis(pages, 0, -1) * (255 / white)).astype(np.uint8))
    with pytest.raises(UserError, match="channels=4, and pictures have 5: use 1 or 3"):
        ImageFolder(tmp_path, size=12, channels=4)
    with pytest.raises(ValueError, match="a picture of 3 channels, where 4 are asked for"):
        decode_image(encoded(NOISE), 12, 4)


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_newer_suffixes_are_pictures(tmp_path, kind):
    (tmp_path / {"JPEG": "a.jfif", "AVIF": "a.AVIF"}[kind]).write_bytes(encoded(NOISE, kind))
    assert ImageFolder(tmp_path, size=8)[0]["image"].shape == (8, 8, 3)


def test_encoded_gives_the_bytes_of_the_file_and_decoding_makes_the_record_of_them(tmp_path):
    for name in ("a/0", "a/1", "b/2", "b/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(encoded(NOISE + int(name[-1])))
    whole = ImageFolder(tmp_path, size=8)
    part = pickle.loads(pickle.dumps(Subset(whole, 0.0, 0.5)))  # as it goes to worker processes
    for i, inner in enumerate(part.ids):
        bytes_, record = part.encoded(i), part[i]
        assert bytes_["image"] == (tmp_path / part.name_of(i)).read_bytes() == whole.encoded(int(inner))["image"]
        assert bytes_["label"] == record["label"]
        np.testing.assert_array_equal(part.decoding(bytes_["image"]), record["image"])


def test_splits_whose_pictures_have_different_channels_are_refused_before_an_encoder_sees_them():
    def noise(channels, size=8):
        return Arrays({"image": np.zeros((2, size, size, channels), np.uint8)})

    augment = ImageViews(8, (0.5,), (0.5,), {"image": {}})
    check_channels(augment, {"pretrain": noise(3), "probe": noise(3, 12)})
    check_channels(augment, {"pretrain": noise(3), "probe": Arrays({"tokens": np.zeros((2, 4), np.int32)})})
    with pytest.raises(UserError, match=r"data.pretrain has 3, data.probe has 1: set `channels` of one"):
        check_channels(augment, {"pretrain": noise(3), "probe": noise(1)})
