"""Every decoder gives the same upright pixels, and refuses what Pillow refuses, for Pillow's reasons."""

import io

import numpy as np
import pytest
from PIL import Image

from ssl_jax.data.image import decode
from ssl_jax.data.image.decode import decode_image, decoded

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((90, 70), Image.Resampling.BICUBIC)
INSTALLED = {"simplejpeg": ("simplejpeg", "cv2"), "OpenCV": ("cv2",), "Pillow": ()}


@pytest.fixture(params=INSTALLED)
def machine(request, monkeypatch):
    """Machines on which only some of the libraries are installed."""
    real = decode.optional
    monkeypatch.setattr(decode, "optional", lambda name: real(name) if name in INSTALLED[request.param] else None)
    return request.param


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data, mode="RGB"):
    found = np.asarray(Image.open(io.BytesIO(data)).convert(mode))
    return found.reshape(*found.shape[:2], -1)


def turned(orientation):
    """A JPEG that is stored so that EXIF's `orientation` brings it back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(PHOTO, "JPEG", quality=95, exif=exif)


def test_whole_pictures_are_those_of_pillow(machine):
    for data in (
        encoded(PHOTO, "JPEG", quality=92),
        encoded(PHOTO, "JPEG", quality=92, progressive=True, subsampling=0),
        encoded(PHOTO.convert("L"), "JPEG"),
        encoded(PHOTO.convert("CMYK"), "JPEG"),
        encoded(PHOTO, "PNG"),
        encoded(PHOTO.convert("L"), "PNG"),
        encoded(PHOTO.quantize(16), "PNG"),
        encoded(PHOTO, "WEBP", quality=90),
        encoded(PHOTO, "BMP"),
    ):
        for channels, mode in ((3, "RGB"), (1, "L")):
            found = decoded(data, channels).astype(int)
            assert found.shape == (70, 90, channels)
            assert np.abs(found - by_pillow(data, mode)).max() <= (0 if channels == 3 else 2), machine


def test_exif_turns_a_picture_by_any_decoder_as_pillow_does(machine):
    for orientation in range(1, 9):
        data = turned(orientation)
        with Image.open(io.BytesIO(data)) as opened:
            expected = np.asarray(decode.upright(opened, orientation))
        assert expected.shape[:2] == ((70, 90) if orientation <= 4 else (90, 70))
        np.testing.assert_array_equal(decoded(data), expected)
        assert (
            np.abs(
                decode_image(data, 16).astype(int) - decode_image(encoded(Image.fromarray(expected), "PNG"), 16)
            ).max()
            < 9
        )


def test_damaged_and_oversized_pictures_are_refused_for_the_same_reason(machine):
    whole = encoded(PHOTO, "JPEG")
    for data, message in (
        (whole[:-60], "truncated"),
        (whole[:30], "[Tt]runcated"),
        (encoded(PHOTO, "PNG")[:-200], "truncated|broken"),
        (encoded(Image.new("RGB", (300, 4)), "JPEG"), "300x4 picture: the shorter side"),
        (b"\xff\xd8\xff" + bytes(500), "not a picture|truncated|broken"),
    ):
        with pytest.raises((ValueError, OSError, SyntaxError), match=message):
            decoded(data)
    with pytest.raises(ValueError, match="90x70 picture: more than 6299 pixels"):
        decoded(whole, max_pixels=6299)


def test_a_large_jpeg_comes_at_a_part_of_its_size_by_any_decoder(machine):
    large = encoded(PHOTO.resize((900, 700), Image.Resampling.BICUBIC), "JPEG", quality=95)
    assert decoded(large, at_least=100).shape == (175, 225, 3)
    assert decoded(large, at_least=500).shape == (700, 900, 3)
    apart = decode_image(large, 40).astype(int) - decode_image(encoded(PHOTO, "PNG"), 40)
    assert np.abs(apart).mean() < 3


def test_it_is_told_which_library_decodes_what(machine):
    told = {kind: library.split()[0] for kind, library in decode.decoders().items()}
    jpeg = {"simplejpeg": "simplejpeg", "OpenCV": "opencv-python-headless", "Pillow": "pillow"}[machine]
    others = "pillow" if machine == "Pillow" else "opencv-python-headless"
    assert told == {"JPEG": jpeg, "PNG and WebP": others, "others": "pillow"}
