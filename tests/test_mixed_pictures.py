"""400 pictures of every kind that people have: one line trains on them, and two more evaluate and report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

KINDS = ("JPEG", "RGBA", "grey", "palette", "16 bits", "turned", "link", "WebP")


def save(path: Path, pixels: np.ndarray, kind: str, elsewhere: Path) -> None:
    """One picture [H, W, 3], as a file of that kind."""
    picture = Image.fromarray(pixels)
    if kind == "RGBA":
        alpha = np.full((*pixels.shape[:2], 1), 200, np.uint8)
        Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(path.with_suffix(".png"))
    elif kind == "grey":
        picture.convert("L").save(path.with_suffix(".png"))
    elif kind == "palette":
        picture.convert("P").save(path.with_suffix(".png"))
    elif kind == "16 bits":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path.with_suffix(".png"))
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(path.with_suffix(".jpg"), exif=exif)
    elif kind == "link":
        picture.save(elsewhere / f"{path.name}.jpg")
        path.with_suffix(".jpg").symlink_to(elsewhere / f"{path.name}.jpg")
    else:
        picture.save(path.with_suffix({"JPEG": ".jpg", "WebP": ".webp"}[kind]))


def write(root: Path, classes: tuple[str, ...]) -> None:
    """Stripes or rings under noise, in a folder for each of `classes`, or in one; two are damaged, and there is a text."""
    rng, elsewhere = np.random.default_rng(0), root.parent / "elsewhere"
    elsewhere.mkdir()
    for i in range(400):
        height, width = rng.integers(70, 130, 2)
        y, x = np.mgrid[:height, :width]
        place = np.hypot(x - width / 2, y - height / 2) if i % 2 else x + y
        shade = 120 + 80 * np.sin(place / rng.uniform(2, 5))[..., None] + rng.normal(0, 20, (height, width, 3))
        folder = root / classes[i % 2] if classes else root
        folder.mkdir(parents=True, exist_ok=True)
        save(folder / f"{i:03}", np.clip(shade, 0, 255).astype(np.uint8), KINDS[i // 2 % len(KINDS)], elsewhere)
    for name in ("040", "041"):
        next(root.rglob(f"{name}.*")).write_bytes(b"\x89PNG\r\n\x1a\n of no use")
    (root / "notes.txt").write_text("by the sea")


def ssl_jax(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of a command, on the machine as it is: without the eight devices of the tests."""
    env = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "SSL_JAX_COMPILE_CACHE")}
    command = [sys.executable, "-m", "ssl_jax", *words]
    done = subprocess.run(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("classes", [("rings", "stripes"), ()], ids=["classes", "no classes"])
def test_one_line_and_no_other_word(tmp_path, classes):
    write(tmp_path / "photos", classes)
    line = ("train", "--data", "photos", "--workdir", "runs/mine")
    code, told = ssl_jax(tmp_path, *line)
    assert code == 0, told
    for part in ("chosen: SimCLR", "that were looked at", "'notes.txt'", "more than 8 bits", "plan:", "checkpoints/"):
        assert part in told
    assert "resumed at step" in ssl_jax(tmp_path, *line)[1]
    code, told = ssl_jax(tmp_path, "eval", "--workdir", "runs/mine")
    assert (code, ("pretrained (student)" if classes else "`ssl-jax report` shows losses") in told) == (
        0 if classes else 2,
        True,
    )
    assert ssl_jax(tmp_path, "report", "--workdir", "runs/mine")[0] == 0
    run = tmp_path / "runs" / "mine"
    assert "nearest" in (run / "report.html").read_text(encoding="utf-8")
    bad = [json.loads(line)["name"] for line in (run / "bad_records.jsonl").read_text().splitlines()]
    assert bad
    assert {Path(name).stem for name in bad} <= {"040", "041"}
