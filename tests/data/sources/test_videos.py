"""Folders of videos and of frames: windows as records, labels, what is kept, and bad files among good ones."""

import os
import shutil
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from PIL import Image
from videos import GROUPS, frame, write

from ssl_jax.data.bad import BadRecords
from ssl_jax.data.pipeline import batches
from ssl_jax.data.sources import FrameFolder, NamedPart, VideoFolder
from ssl_jax.data.video import decode, lengths
from ssl_jax.errors import UserError
from ssl_jax.recipe.sources import opened


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two classes: 40 frames at 25 a second and 12 at 10, 1.6 s and 1.2 s."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a", "b"):
        (folder / name).mkdir()
    write(folder / "a/long.mp4", **GROUPS)
    write(folder / "b/slow.webm", "libvpx", count=12, rate=10)
    (folder / "b/notes.txt").write_text("no video")
    return folder


def test_a_record_is_a_window_of_a_video(root):
    source = VideoFolder(root, size=32, frames=4, stride=2, rate=10.0)
    assert (len(source), source.classes, source.values("label").tolist()) == (3, ("a", "b"), [0, 0, 1])
    assert [source.name_of(i) for i in range(3)] == [
        "a/long.mp4 at 0.00 s",
        "a/long.mp4 at 0.80 s",
        "b/slow.webm at 0.00 s",
    ]
    times = 0.8 + (np.arange(4) * 2 + 0.5) / 10
    np.testing.assert_array_equal(source[1]["clip"], decode.clip(root / "a/long.mp4", times, decode.Decoding(32)))
    assert source[2]["clip"].shape == VideoFolder.example(32, 4)["clip"].shape
    assert "left out 1 files that have no video's suffix" in source.notes[0]


def test_windows_overlap_and_follow_the_rate_of_each_video(root):
    assert len(VideoFolder(root, size=16, frames=4)) == 10 + 3  # of 4 frames each, at their own rates
    assert len(VideoFolder(root, size=16, frames=4, every=0.1)) == 15 + 9
    short = VideoFolder(root, size=16, frames=4, rate=1.0)[0]["clip"]
    np.testing.assert_array_equal(short[2], short[3])  # 4 s are longer than the video: its last frame stays


def test_strings_name_both(root, tmp_path):
    assert len(opened(f"video:{root}?rate=10.0&stride=2&frames=4", "data.pretrain", size=16)) == 3
    for number in range(3):
        (tmp_path / "x/y").mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame(number)).save(tmp_path / f"x/y/{number}.png")
    assert opened(f"frames:{tmp_path}", "data.pretrain", size=16)[0]["clip"].shape == (16, 16, 16, 3)
    np.savez(tmp_path / "clips.npz", clip=np.zeros((3, 8, 4, 4, 1), np.uint8), label=np.arange(3))
    assert opened(f"npy:{tmp_path}/clips.npz", "data.pretrain")[2]["clip"].shape == (8, 4, 4, 1)


def test_clips_of_a_video_are_learnt_from_or_tested_on(root):
    source = VideoFolder(root, size=16, frames=4)
    parts = [NamedPart(source, *ends) for ends in ((0.0, 0.5), (0.5, 1.0))]
    videos = [{source.belongs_to(int(i)) for i in part.ids} for part in parts]
    assert videos[0] | videos[1] == {"a/long.mp4", "b/slow.webm"}
    assert not videos[0] & videos[1]


def test_fingerprints_follow_options_names_and_content(root, tmp_path):
    shutil.copytree(root, tmp_path / "same")
    options = ({}, {"frames": 8}, {"rate": 5.0}, {"every": 0.5}, {"labelled": False})
    prints = [VideoFolder(root, size=16, **some).fingerprint() for some in options]
    assert len(set(prints)) == len(options)
    assert VideoFolder(tmp_path / "same", size=16).fingerprint() == prints[0]
    write(tmp_path / "same/a/long.mp4", "mpeg4")
    assert VideoFolder(tmp_path / "same", size=16).fingerprint() != prints[0]


def test_lengths_are_asked_once(root, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_JAX_DATA_CACHE", str(tmp_path))
    monkeypatch.setattr(lengths, "KEPT_FROM", 1)
    first = VideoFolder(root, size=16)
    with monkeypatch.context() as patched:
        patched.setattr(lengths, "_asked", None)
        assert VideoFolder(root, size=16).fingerprint() == first.fingerprint()
    os.utime(root / "a/long.mp4")
    asked = []
    monkeypatch.setattr(lengths, "_asked", lambda most, path: asked.append(path.name) or (1.6, 25.0))
    VideoFolder(root, size=16)
    assert asked == ["long.mp4"]


def test_without_the_library_it_says_what_to_install(root, monkeypatch):
    monkeypatch.setattr(decode, "optional", lambda module: None)
    with pytest.raises(UserError, match=r"pip install 'ssl_jax\[video\]'"):
        VideoFolder(root, size=16)


@pytest.mark.parametrize("kind", [VideoFolder, FrameFolder])
def test_what_makes_no_sense_is_refused(kind, tmp_path):
    (tmp_path / "x.txt").write_text("x")
    for options, said in (
        ({"root": tmp_path / "no"}, "no folder at"), ({}, "no (videos|pictures)"), ({"size": 0}, "size=0"),
        ({"stride": 0}, "stride=0"), ({"every": 0}, "every=0"), ({"channels": 4}, "channels=4"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            kind(**({"root": tmp_path, "size": 8} | options))


def test_frames_are_pictures_in_the_order_of_their_numbers(tmp_path):
    for video, count in (("a/x", 12), ("a/y", 3), ("b/z", 5)):
        (tmp_path / video).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.full((16, 16, 3), 20 * number, np.uint8)).save(tmp_path / video / f"{number}.png")
    source = FrameFolder(tmp_path, size=16, frames=4, stride=2, every=2)
    assert source.values("label").tolist() == [0, 0, 0, 0, 1]
    levels = [(source[i]["clip"][:, 0, 0, 0] // 20).tolist() for i in range(len(source))]
    assert levels == [[0, 2, 4, 6], [2, 4, 6, 8], [4, 6, 8, 10], [0, 2, 2, 2], [0, 2, 4, 4]]
    assert source.name_of(2) == "a/x/4.png"


DAMAGE = {
    "truncated": lambda data, seed: data[: len(data) * (1 + seed % 8) // 10],
    "overwritten": lambda data, seed: data[:900] + np.random.default_rng(seed).bytes(400) + data[1300:],
    "renamed": lambda data, seed: b"no video at all\n" * (1 + seed),
    "empty": lambda data, seed: b"",
}


def spoil(folder, kind, seed):
    """A damaged file beside good ones."""
    good = folder / "good.mp4"
    (folder / f"{kind}{seed}.mp4").write_bytes(DAMAGE[kind](good.read_bytes(), seed))


def all_read(source):
    """What became of each record: its clip, or why there is none."""
    bad = BadRecords(1.0)
    for i in range(len(source)):
        bad.read(source, i)
    return {entry.name.partition(" at ")[0] for entry in bad.entries}


def test_bad_files_among_good_ones_are_bad_records_and_batches_are_whole(tmp_path):
    write(tmp_path / "good.mp4", count=100, **GROUPS)
    for kind in DAMAGE:
        spoil(tmp_path, kind, 4)
    source = VideoFolder(tmp_path, size=16, rate=10.0, labelled=False)
    bad = all_read(source)
    assert "good.mp4" not in bad
    assert bad >= {"truncated4.mp4", "renamed4.mp4", "empty4.mp4"}
    with closing(batches(source, seed=0, batch_size=8, threads=2, bad=BadRecords(1.0))) as made:
        assert next(made)["clip"].shape == (8, 16, 16, 16, 3)


@pytest.mark.slow
def test_a_hundred_damaged_files_neither_hang_nor_fill_the_memory(tmp_path):
    """Truncated, overwritten, renamed, empty, sound alone, 1 x 1 and 8K, in a process of its own whose memory is limited."""
    write(tmp_path / "good.mp4", count=200, **GROUPS)
    for kind in DAMAGE:
        for seed in range(23):
            spoil(tmp_path, kind, seed)
    for seed in range(4):
        write(tmp_path / f"sound{seed}.mp4", count=0, sound=True)
        write(tmp_path / f"tiny{seed}.mkv", "ffv1", 2 + seed, side=(1, 1), format="yuv444p")
    write(tmp_path / "large.mp4", count=6, side=(4320, 7680), preset="ultrafast")
    program = (
        "import sys, resource; sys.path.insert(0, sys.argv[2]); from test_videos import all_read; "
        "from ssl_jax.data.sources import VideoFolder; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "print(*sorted(all_read(VideoFolder(sys.argv[1], size=16, rate=10.0))), sep='\\n'); "
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    beside = os.path.dirname(__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(os.path.dirname(beside)), *sys.path])}
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), beside],
        env=environment,
        timeout=240,
        capture_output=True,
        text=True,
    )
    assert not ended.returncode, ended.stderr
    *bad, grown = ended.stdout.split()
    assert len(bad) >= 23 * 3 + 9
    assert {"large.mp4", *(f"sound{i}.mp4" for i in range(4)), *(f"tiny{i}.mkv" for i in range(4))} <= set(bad)
    assert "good.mp4" not in bad
    assert int(grown) < 400  # MiB: a decoded frame of 8K has 50
