"""Decoding of videos: a clip is the frames of a full decode, upright, and what is no video is a bad record at once."""

import os
import time

import numpy as np
import pytest
from videos import GROUPS, frame, write

from ssl_jax.data.image.resize import central_square
from ssl_jax.data.video import decode
from ssl_jax.data.video.decode import Decoding, clip, opened

DECODING = Decoding(48)
UNEVEN = np.cumsum(np.random.default_rng(0).integers(10, 90, 40)) - 10
FILES = {  # a codec, a container with or without an index, frames in another order, uneven times
    "h264.mp4": dict(codec="libx264", sound=True, **GROUPS),
    "h264.ts": dict(codec="libx264", **GROUPS),
    "open.mkv": {"codec": "libx264", "ms": UNEVEN, "x264_params": "open-gop=1:bframes=3:keyint=12"},
    "uneven.mp4": dict(codec="libx264", ms=UNEVEN, **GROUPS),
    "mpeg4.avi": dict(codec="mpeg4", **GROUPS),
    "vp8.webm": {"codec": "libvpx", "g": "12"},
    "mpeg2.mpg": dict(codec="mpeg2video", **GROUPS),
    "turned.mp4": {"codec": "mpeg4", "rotation": 90},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name, options in FILES.items():
        write(root / name, **options)
    return root


def whole(path):
    """All frames of a video with their times, decoded from the first to the last."""
    with opened(path) as video:
        return [(found.time, video.pixels(found, DECODING)) for found in video.frames()]


@pytest.mark.parametrize("name", FILES)
def test_a_clip_of_any_window_is_frames_of_a_full_decode(folder, name):
    frames, rng = whole(folder / name), np.random.default_rng(1)
    assert len(frames) == 40
    for rate in (25.0, 11.0):
        for start in rng.uniform(0, 1.0, 6):
            times = start + (np.arange(6) + 0.5) / rate
            shown = [max((i for i, (at, _) in enumerate(frames) if at <= t + 1e-6), default=0) for t in times]
            np.testing.assert_array_equal(clip(folder / name, times, DECODING), [frames[i][1] for i in shown])


def test_frames_at_their_own_rate_come_one_by_one_and_upright(folder):
    times = (np.arange(10, 18) + 0.5) / 25
    drawn = np.stack([central_square(frame(number), 48) for number in range(10, 18)]).astype(int)
    assert abs(clip(folder / "h264.mp4", times, DECODING) - drawn).mean() < 6  # what the codec loses
    turned = clip(folder / "turned.mp4", times, DECODING)
    assert abs(turned - np.rot90(drawn, axes=(1, 2))).mean() < 6
    assert abs(turned - np.rot90(drawn, -1, axes=(1, 2))).mean() > 30


def test_pixels_become_square_and_grey_is_one_channel(tmp_path):
    path = write(tmp_path / "wide.mp4", "mpeg4", 4, aspect=2)
    (found,) = clip(path, [0.02], Decoding(48)).astype(int)
    stretched = np.repeat(frame(0)[:, 20:44], 2, axis=1)  # 64 x 48 pixels twice as wide as high: the middle 24 columns
    assert abs(found - stretched).mean() < 6
    (grey,) = clip(path, [0.02], Decoding(48, channels=1)).astype(int)
    assert grey.shape == (48, 48, 1)
    assert abs(grey[..., 0] - stretched @ (0.299, 0.587, 0.114)).mean() < 6


def test_after_the_end_the_last_frame_stays(folder):
    found = clip(folder / "h264.mp4", [1.5, 1.59, 5.0, 60.0], DECODING)
    np.testing.assert_array_equal(found[2], found[1])
    np.testing.assert_array_equal(found[3], found[1])
    assert (found[0] != found[1]).any()


def damaged(root):
    """Files that are no videos, by what is said of them."""
    good = write(root / "good.mp4", **GROUPS).read_bytes()
    write(root / "sound.mp4", count=0, sound=True)
    write(root / "tiny.mkv", "ffv1", 3, side=(1, 1), format="yuv444p")
    contents = {
        "half.mp4": good[: len(good) // 2], "empty.mp4": b"", "text.mp4": b"no video\n" * 99, "noise.mkv": os.urandom(9999),
        "list.mp4": f"#EXTM3U\n#EXTINF:9,\n{root}/good.mp4\n".encode(), "picture.avi": b"\x89PNG\r\n\x1a\n" + good[:999],
        "other.mp4": f"ffconcat version 1.0\nfile '{root}/good.mp4'\n".encode(),
    }  # fmt: skip
    for name, data in contents.items():
        (root / name).write_bytes(data)
    cut = write(root / "cut.mkv", count=100, **GROUPS)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 4])
    (root / "folder.mp4").mkdir()
    os.mkfifo(root / "pipe.mp4")
    others = {
        "sound.mp4": "no moving pictures", "tiny.mkv": "1x1", "cut.mkv": "end at", "folder.mp4": "a folder",
        "pipe.mp4": "a FIFO", "gone.mp4": "No such file",
    }  # fmt: skip
    return dict.fromkeys(contents, "no video in any") | others


def test_what_is_no_video_is_refused_at_once(tmp_path):
    begun = time.monotonic()
    for name, said in damaged(tmp_path).items():
        with pytest.raises((ValueError, OSError), match=said):
            clip(tmp_path / name, [3.5], DECODING)
    with pytest.raises(ValueError, match="64x48"):
        clip(tmp_path / "good.mp4", [0.0], Decoding(48, max_pixels=64 * 48 - 1))
    assert time.monotonic() - begun < 20


def test_a_clip_that_takes_too_many_frames_is_a_bad_record(folder, monkeypatch):
    monkeypatch.setattr(decode, "MAX_FRAMES", 5)
    clip(folder / "vp8.webm", [0.1], DECODING)
    with pytest.raises(ValueError, match="a key frame every few seconds"):
        clip(folder / "vp8.webm", [0.4], DECODING)
