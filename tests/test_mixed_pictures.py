"""400 pictures of every kind that people have: one line trains on them, and two more evaluate and report."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_jax.cli import main

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


@pytest.mark.slow
@pytest.mark.parametrize("classes", [("rings", "stripes"), ()], ids=["classes", "no classes"])
def test_one_line_and_no_other_word(tmp_path, monkeypatch, capsys, classes):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "photos", classes)
    assert main(["train", "--data", "photos", "--workdir", "runs/mine"]) == 0
    told = "".join(capsys.readouterr())
    for part in ("chosen: SimCLR", "that were looked at", "'notes.txt'", "more than 8 bits", "plan:", "checkpoints/"):
        assert part in told
    assert main(["train", "--data", "photos", "--workdir", "runs/mine"]) == 0
    assert "resumed at step" in "".join(capsys.readouterr())
    assert main(["eval", "--workdir", "runs/mine"]) == (0 if classes else 2)
    told = capsys.readouterr()
    assert ("pretrained (student)" in told.out) if classes else ("`ssl-jax report` shows losses" in told.err)
    assert main(["report", "--workdir", "runs/mine"]) == 0
    page = (tmp_path / "runs" / "mine" / "report.html").read_text(encoding="utf-8")
    assert "SimCLR" in page
    bad = (tmp_path / "runs" / "mine" / "bad_records.jsonl").read_text().splitlines()
    assert {json.loads(line)["name"].rpartition("/")[2][:3] for line in bad} <= {"040", "041"}
