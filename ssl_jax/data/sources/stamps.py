"""Scenes of Tux Paint's stamps on textures: real outlines of 16 categories, and their stacking as depth.

The stamps are drawings and photographs with an alpha channel, of the Debian package `tuxpaint-stamps-default` (GPL-2 and
other free licences, told beside each file): installed, never shipped here.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.image.decode import MAX_PIXELS
from ssl_jax.data.image.scenes import Layer, scene_record, seen_size
from ssl_jax.data.sources.arrays import check_split
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.shapes import SPLITS, zeros
from ssl_jax.errors import UserError

ROOT = "/usr/share/tuxpaint/stamps"
_TENTHS = {"pretrain": range(6), "probe": range(6, 8), "test": range(8, 10)}  # of the stamps, by a hash of their path


@dataclass(frozen=True, eq=False)
class Stamps:
    """Scenes of two to five stamps: `image` uint8 [size, size, 3], `segments` int32 [size, size] (0 background, then the
    categories in order of their names), `depth` float32 [size, size] (1 to 4, background 5), `label` int32, the nearest one's.

    A stamp is smaller the farther it is; nearer ones cover others. Splits have different stamps: about 60, 20 and 20 % of each
    category. Categories are drawn alike, whatever number of stamps they have. Record i is a function of (`seed`, split, i).

    Args:
      root: the folder with a folder for each category.
      split: pretrain, probe or test.
      size: side of the pictures.
      count: number of records (default: 4,000 of pretrain, 1,000 of probe and test).
      seed: other scenes.

    Raises:
      UserError: no such folder, or no stamps in it.
    """

    root: str | Path = ROOT
    split: str = "pretrain"
    size: int = 96
    count: int | None = None
    seed: int = 0
    classes: tuple[str, ...] = field(init=False, repr=False)
    labels: dict[str, tuple[str, ...]] = field(init=False, repr=False)
    paths: tuple[tuple[str, ...], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_split(self.split, tuple(SPLITS))
        if self.size < 16 or (self.count is not None and self.count < 1):
            raise UserError(f"size={self.size}, count={self.count}: use at least 16 pixels and 1 record")
        named = _named(Path(self.root))
        kept = tuple(tuple(p for p in paths if _tenth(p) in _TENTHS[self.split]) for paths in named.values())
        if not any(kept):
            raise UserError(f"no stamps of the split {self.split!r} in {str(self.root)!r}: it holds too few")
        object.__setattr__(self, "classes", tuple(named))
        object.__setattr__(self, "labels", {"segments": ("background", *named), "depth": ()})
        object.__setattr__(self, "paths", kept)

    def __len__(self) -> int:
        return self.count or SPLITS[self.split]

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        rng = np.random.default_rng([self.seed, list(SPLITS).index(self.split), index])
        return scene_record(rng, self.size, partial(self._layer, rng))

    @staticmethod
    def example(size: int = 96, **_: object) -> Record:
        """A record of zeros, for `ssl-jax plan`: reads nothing."""
        return zeros(size)

    def fingerprint(self) -> str:
        """SHA-256 of the options, and the paths and sizes of the stamps."""
        digest = hashlib.sha256(f"stamps 1 {self.split} {self.size} {len(self)} {self.seed}".encode())
        for path in (path for paths in self.paths for path in paths):
            digest.update(f"\n{path} {(Path(self.root) / path).stat().st_size}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _layer(self, rng: np.random.Generator, depth: float) -> Layer:
        kind = int(rng.choice([k for k, paths in enumerate(self.paths) if paths]))
        path = self.paths[kind][int(rng.integers(len(self.paths[kind])))]
        stamp = drawn(str(Path(self.root) / path), seen_size(depth, self.size))
        height, width = stamp.shape[:2]
        top, left = (int(rng.integers(-n // 3, max(self.size - 2 * n // 3, 1 - n // 3))) for n in (height, width))
        return Layer(stamp[..., :3], stamp[..., 3], top, left, kind + 1, float(depth))


@lru_cache(maxsize=4096)
def drawn(path: str, side: int) -> np.ndarray:
    """A stamp as float32 [h, w, 4] in [0, 1], colours and alpha, its longer side `side` pixels.

    Raises (ValueError, OSError, SyntaxError) on a bad file.
    """
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(files.read(Path(path))), formats=("PNG",))
    if picture.size[0] * picture.size[1] > MAX_PIXELS:
        raise ValueError(f"{picture.size[0]}x{picture.size[1]} picture: more than {MAX_PIXELS} pixels")
    scale = side / max(picture.size)
    width, height = (max(1, round(n * scale)) for n in picture.size)
    return np.asarray(picture.convert("RGBA").resize((width, height), Image.Resampling.BOX), np.float32) / 255


def _named(root: Path) -> dict[str, list[str]]:
    """The stamps of each category, as sorted paths below `root`."""
    if not root.is_dir():
        raise UserError(
            f"no stamps at {str(root)!r}; install them (Debian: apt-get install tuxpaint-stamps-default), or set `root` to "
            "where their folders of categories are"
        )
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    found = {f.name: sorted(p.relative_to(root).as_posix() for p in f.rglob("*.png") if p.is_file()) for f in folders}
    kept = {name: paths for name, paths in found.items() if paths}
    if not kept:
        raise UserError(f"no .png stamps in folders of {str(root)!r}; set `root` to the folder with the categories")
    return kept


def _tenth(path: str) -> int:
    return zlib.crc32(path.encode("utf-8", "surrogateescape")) % 10
