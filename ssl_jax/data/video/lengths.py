"""How long the videos of a folder are, from their heads: asked of each file once, and again when it has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_jax.data import kept
from ssl_jax.data.video.decode import library, opened

KEPT_FROM = 100  # videos; fewer are asked in a moment
_KIND, _THREADS = "lengths-1", 16
_UNREADABLE = (0.0, 1.0)


class Lengths(NamedTuple):
    """Seconds and frames a second float64 [N] of videos; 0 and 1 for those that cannot be read."""

    seconds: np.ndarray
    rates: np.ndarray


def lengths(root: Path, names: Sequence[str], max_pixels: int) -> Lengths:
    """Those of the videos `names` below `root`."""
    library()  # or a UserError, once
    stamps = np.array([_stamp(root / name, name, max_pixels) for name in names], np.uint64)
    known = _kept(root)
    found = np.array([known.get(int(stamp), _UNREADABLE) for stamp in stamps]).reshape(-1, 2)
    new = np.flatnonzero([int(stamp) not in known for stamp in stamps])
    if len(new):
        with ThreadPoolExecutor(_THREADS) as pool:
            found[new] = list(pool.map(partial(_asked, max_pixels), (root / names[int(i)] for i in new)))
        _keep(root, stamps, found)
    return Lengths(found[:, 0], found[:, 1])


def _asked(max_pixels: int, path: Path) -> tuple[float, float]:
    try:
        with opened(path, max_pixels) as video:
            return video.seconds, video.rate
    except (ValueError, OSError):  # a bad record, which says so when it is read
        return _UNREADABLE


def _stamp(path: Path, name: str, max_pixels: int) -> int:
    """A number that changes when the file does."""
    try:
        found = os.stat(path)
        state = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
    except OSError:
        state = "gone"
    text = f"{max_pixels} {state} {name}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _kept(root: Path) -> dict[int, tuple[float, float]]:
    """What was kept of the videos of a folder, by their stamps."""
    arrays = kept.read(_KIND, os.path.realpath(root)) or {}
    stamps, found = arrays.get("stamps"), arrays.get("found")
    if stamps is None or found is None or stamps.dtype != np.uint64 or found.shape != (*stamps.shape, 2):
        return {}
    return {int(stamp): (float(row[0]), float(row[1])) for stamp, row in zip(stamps, found, strict=True)}


def _keep(root: Path, stamps: np.ndarray, found: np.ndarray) -> None:
    if len(stamps) >= KEPT_FROM:
        kept.write(_KIND, os.path.realpath(root), {"stamps": stamps, "found": found})
